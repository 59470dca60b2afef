//! 8.5 Metrics of a step: of the rollouts, and of the update.

use anyhow::Result;
use candle_core::{DType, Tensor};
use experiment::metrics_writer::extend_row;
use experiment::{RunLog, statistics};
use ranks::Ranks;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actor_critic::ActorCritic;
use crate::alarms::HealthInputs;
use crate::completion_log::CompletionLog;
use crate::config::PpoUpdateConfig;
use crate::experience::{MicroBatch, PpoExperience};
use crate::kl::{KlEstimator, ratio};
use crate::losses::{clip_fraction_on_device, value_clip_fraction_on_device};
use crate::masked::{masked, masked_mean};
use crate::rewards::TruncationHandling;
use crate::rollout_group::RolloutGroup;

/// Seconds of each phase of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhaseSeconds {
    pub(crate) rollout: f64,
    /// Rewards, values, KL and advantages.
    pub(crate) experience: f64,
    pub(crate) update: f64,
}

/// Metrics of an update; means over its minibatches unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct PpoUpdateMetrics {
    /// Policy loss −min(ρ A, clip(ρ) A).
    pub policy_loss: f64,
    /// Value loss ½ max((V − R)², (V_clipped − R)²).
    pub value_loss: f64,
    /// Entropy in nats per token.
    pub entropy: f64,
    /// Fraction of tokens whose ratio is outside the clip range.
    pub clip_fraction: f64,
    /// Fraction of tokens whose value loss is that of the clipped value.
    pub value_clip_fraction: f64,
    /// Largest ratio of the update.
    pub ratio_max: f64,
    /// Largest |ratio − 1| in the first minibatch, before any step.
    pub first_ratio_error: f64,
    /// KL to the rollout policy at the last minibatch, in nats per token (k3).
    pub approx_kl: f64,
    /// Norm of the policy's gradient before clipping, at the last step.
    pub grad_norm: f64,
    /// Norm of the critic's gradient before clipping, at the last step.
    pub critic_grad_norm: f64,
    /// Optimizer steps.
    pub updates: usize,
    /// Input tokens of the models, padding included.
    pub tokens_read: usize,
    /// Number of minibatches.
    #[serde(skip)]
    pub(crate) n_minibatches: usize,
}

/// Metrics of a minibatch: sums over micro-batches, weighted by their token fractions.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct MinibatchMetrics {
    policy_loss: f64,
    value_loss: f64,
    entropy: f64,
    clip_fraction: f64,
    value_clip_fraction: f64,
    ratio_max: f64,
    pub(crate) ratio_error: f64,
    /// KL to the rollout policy, in nats per token.
    pub(crate) approx_kl: f64,
    pub(crate) tokens_read: usize,
}

/// Tensors that the loss of a micro-batch is computed from, token by token: (R, T) each.
pub(crate) struct TokenLosses {
    /// Current log-probabilities.
    pub(crate) log_probs: Tensor,
    /// Current values.
    pub(crate) values: Tensor,
    pub(crate) policy_loss: Tensor,
    pub(crate) value_loss: Tensor,
    pub(crate) entropy: Tensor,
}

impl MinibatchMetrics {
    /// Adds a micro-batch with this share of the minibatch's tokens. All of its numbers are read at
    /// once: each read waits for the device.
    pub(crate) fn add_micro_batch(
        &mut self,
        micro_batch: &MicroBatch,
        tokens: &TokenLosses,
        share: f64,
        config: &PpoUpdateConfig,
    ) -> Result<()> {
        let MicroBatch { batch, old_log_probs, old_values, returns, .. } = micro_batch;
        let mask = &batch.mask;
        let (log_probs, values) = (&tokens.log_probs.detach(), &tokens.values.detach());
        let in_f64 = |x: &Tensor| x.detach().to_dtype(DType::F64);
        let mean = |x: &Tensor| masked_mean(&in_f64(x)?, mask);
        let ratio = masked(&ratio(log_probs, old_log_probs)?, mask)?;
        let numbers = [
            mean(&tokens.policy_loss)?,
            mean(&tokens.value_loss)?,
            mean(&tokens.entropy)?,
            mean(&KlEstimator::K3.estimate(old_log_probs, log_probs)?)?,
            clip_fraction_on_device(log_probs, old_log_probs, mask, config.clip_range)?,
            match config.value_clip_range {
                Some(clip) => {
                    value_clip_fraction_on_device(values, old_values, returns, mask, clip)?
                }
                None => Tensor::zeros((), DType::F64, mask.device())?,
            },
            in_f64(&ratio.max_all()?)?,
            in_f64(&masked(&(ratio - 1.)?.abs()?, mask)?.max_all()?)?,
        ];
        let numbers: Vec<f64> = Tensor::stack(&numbers, 0)?.to_vec1()?;
        let (means, maxima) = numbers.split_at(6);
        let sums = [
            &mut self.policy_loss,
            &mut self.value_loss,
            &mut self.entropy,
            &mut self.approx_kl,
            &mut self.clip_fraction,
            &mut self.value_clip_fraction,
        ];
        sums.into_iter().zip(means).for_each(|(sum, mean)| *sum += share * mean);
        self.ratio_max = self.ratio_max.max(maxima[0]);
        self.ratio_error = self.ratio_error.max(maxima[1]);
        self.tokens_read += batch.n_input_tokens();
        Ok(())
    }

    /// Metrics of a minibatch, of which `self` has those of this rank's groups.
    pub(crate) fn of_all_ranks(self, ranks: &Ranks) -> Result<Self> {
        let of_ranks = ranks.gather(&self)?.into_iter();
        Ok(of_ranks.reduce(Self::merge).unwrap_or_default())
    }

    fn merge(self, other: Self) -> Self {
        Self {
            policy_loss: self.policy_loss + other.policy_loss,
            value_loss: self.value_loss + other.value_loss,
            entropy: self.entropy + other.entropy,
            clip_fraction: self.clip_fraction + other.clip_fraction,
            value_clip_fraction: self.value_clip_fraction + other.value_clip_fraction,
            ratio_max: self.ratio_max.max(other.ratio_max),
            ratio_error: self.ratio_error.max(other.ratio_error),
            approx_kl: self.approx_kl + other.approx_kl,
            tokens_read: self.tokens_read + other.tokens_read,
        }
    }
}

impl PpoUpdateMetrics {
    /// Adds the metrics of a minibatch.
    pub(crate) fn add_minibatch(&mut self, minibatch: &MinibatchMetrics) {
        self.policy_loss += minibatch.policy_loss;
        self.value_loss += minibatch.value_loss;
        self.entropy += minibatch.entropy;
        self.clip_fraction += minibatch.clip_fraction;
        self.value_clip_fraction += minibatch.value_clip_fraction;
        self.ratio_max = self.ratio_max.max(minibatch.ratio_max);
        self.approx_kl = minibatch.approx_kl;
        self.tokens_read += minibatch.tokens_read;
        if self.n_minibatches == 0 {
            self.first_ratio_error = minibatch.ratio_error;
        }
        self.n_minibatches += 1;
    }

    /// Means of the sums over the minibatches.
    pub(crate) fn means(mut self) -> Self {
        let n = self.n_minibatches.max(1) as f64;
        for sum in [
            &mut self.policy_loss,
            &mut self.value_loss,
            &mut self.entropy,
            &mut self.clip_fraction,
            &mut self.value_clip_fraction,
        ] {
            *sum /= n;
        }
        self
    }
}

/// Logs the next step of `actor_critic` with its `completions`, and its alarms, given its
/// treatment of truncated completions.
pub(crate) fn log_step(
    actor_critic: &mut ActorCritic,
    experience: &PpoExperience,
    completions: &CompletionLog<'_>,
    update: &PpoUpdateMetrics,
    truncation: TruncationHandling,
    lr: f64,
    seconds: PhaseSeconds,
    log: &mut RunLog,
) -> Result<()> {
    let step = actor_critic.policy.progress.step + 1;
    let sampled = || experience.groups.iter().flat_map(|group| &group.completions);
    let (rewards, n) = (&experience.rewards, experience.rewards.len() as f64);
    let n_tokens: usize = experience.groups.iter().map(RolloutGroup::n_tokens).sum();
    let mean = statistics::mean(rewards);
    let eos_rate = sampled().filter(|completion| completion.terminated()).count() as f64 / n;
    let health = HealthInputs {
        entropy: update.entropy,
        kl_per_token: experience.kl_per_token,
        eos_rate,
        truncation,
        first_ratio_error: update.first_ratio_error,
        dtype: actor_critic.policy.parameters.compute_dtype(),
        plateau: actor_critic.policy.progress.rewards.plateau,
    };
    for alarm in actor_critic.progress.alarms.check(&health) {
        log.alarm(step, &alarm)?;
    }
    log.progress(step, &format!("reward {mean:.3}"), n_tokens);
    if log.is_due(step)
        && let Some(tracker) = log.tracker()
    {
        let rewards: Vec<f32> = rewards.iter().map(|&reward| reward as f32).collect();
        tracker.log_histogram(step, "reward", &rewards)?;
    }
    let summary = completions.write(step, log)?;
    let mut row = json!({
        "reward_mean": mean, "reward_std": statistics::std(rewards),
        "kl": experience.kl_per_token, "kl_per_completion": experience.kl_per_completion,
        "kl_coef": actor_critic.progress.kl_coef, "eos_rate": eos_rate,
        "length_mean": n_tokens as f64 / n,
        "explained_variance": experience.explained_variance()?, "lr": lr,
        "tokens": log.state.n_tokens, "experience_s": seconds.experience,
        "rollout_tokens_per_s": n_tokens as f64 / seconds.rollout,
        "update_tokens_per_s": update.tokens_read as f64 / seconds.update,
        "param_norm": log.param_norm(step, &actor_critic.policy.parameters)?,
    });
    extend_row(&mut row, serde_json::to_value(update)?);
    extend_row(&mut row, summary);
    log.row_of_step(step, row)
}
