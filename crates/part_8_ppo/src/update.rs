//! 8.4 Update: several epochs over one experience, in shuffled minibatches.
//!
//! ```text
//! for each epoch, for each minibatch:
//!     ratio → clipped surrogate + value loss − entropy bonus → one step of both optimizers
//! ```
//!
//! In the first minibatch of the first epoch the policy is still the one that sampled, so its
//! ratios are 1; after that they show how far the policy has moved. Past `early_stop_kl` the
//! remaining minibatches are skipped.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use scaling::accumulation::sum_of_gradients_in_stores;
use tensor_core::{Rng, clip_grad_norm};

use crate::actor_critic::{ActorCritic, PpoModels};
use crate::experience::PpoExperience;
use crate::log_probs::{LogProbsAndEntropy, log_probs_and_entropy};
use crate::losses::{Clip, LossWeights, clipped_surrogate, total_loss, value_loss};
use crate::ptx_loss::PtxLoss;
use crate::token_batch::TokenBatch;
use crate::update_metrics::{MinibatchMetrics, PpoUpdateMetrics, TokenTensors};

/// Settings of the update.
#[derive(Debug, Clone, Copy)]
pub struct PpoUpdateConfig {
    /// Epochs over an experience.
    pub ppo_epochs: usize,
    /// Minibatches per epoch, one optimizer step each.
    pub n_minibatches: usize,
    /// Micro-batches per minibatch, whose gradients are accumulated.
    pub grad_accum_steps: usize,
    /// Clip range of the ratio.
    pub clip_range: Clip,
    /// Clip range of the values.
    pub value_clip_range: Option<f64>,
    /// Coefficients of the value loss and the entropy bonus.
    pub loss_weights: LossWeights,
    /// KL to the rollout policy, in nats per token, beyond which the update stops.
    pub early_stop_kl: Option<f64>,
    /// Largest gradient norm, applied to the policy and the critic separately.
    pub max_grad_norm: f64,
}

impl PpoUpdateConfig {
    /// Groups per micro-batch, of `groups` groups in all.
    pub fn micro_batch_size(&self, groups: usize) -> usize {
        groups.div_ceil(self.n_minibatches.max(1)).div_ceil(self.grad_accum_steps.max(1)).max(1)
    }
}

/// Inputs of an update beside the experience.
#[derive(Debug)]
pub struct UpdateInputs<'a> {
    /// Settings of the update.
    pub config: &'a PpoUpdateConfig,
    /// Sampling temperature of the rollout.
    pub temperature: f64,
    /// Learning rate of the policy.
    pub lr: f64,
    /// Learning rate of the critic.
    pub critic_lr: f64,
    /// PTX loss, if it is mixed in.
    pub ptx_loss: Option<&'a mut PtxLoss>,
}

/// Updates policy and critic on `experience`; `rng` shuffles its groups.
///
/// # Errors
/// When a loss or a gradient is not finite, or memory is short.
pub fn update(
    actor_critic: &mut ActorCritic,
    models: &PpoModels,
    experience: &PpoExperience,
    inputs: UpdateInputs<'_>,
    rng: &mut Rng,
) -> Result<PpoUpdateMetrics> {
    let UpdateInputs { config, temperature, lr, critic_lr, mut ptx_loss } = inputs;
    let mut order: Vec<usize> = (0..experience.groups.len()).collect();
    let (mut all, mut n_minibatches) = (PpoUpdateMetrics::default(), 0);
    'epochs: for _ in 0..config.ppo_epochs {
        rng.shuffle(&mut order);
        for chosen in split_evenly(&order, config.n_minibatches) {
            let mut metrics = MinibatchMetrics::default();
            let n_tokens = experience.n_tokens(chosen) as f64;
            let micro_batches: Vec<&[usize]> =
                split_evenly(chosen, config.grad_accum_steps).collect();
            let stores = [&actor_critic.policy.parameters, &actor_critic.critic.parameters];
            let (loss, mut grads) =
                sum_of_gradients_in_stores(&stores, &micro_batches, 1., |groups| {
                    let token_fraction = experience.n_tokens(groups) as f64 / n_tokens;
                    let micro_batch = MicroBatch { experience, groups, token_fraction };
                    let mut loss =
                        micro_batch_loss(models, &micro_batch, config, temperature, &mut metrics)?;
                    if let Some(ptx_loss) = &mut ptx_loss {
                        loss = (loss + ptx_loss.loss(&models.policy)?)?;
                    }
                    Ok((loss * token_fraction)?) // together the mean over the minibatch's tokens
                })?;
            ensure!(loss.is_finite(), "the loss is {loss}: try a smaller --lr");
            if all.updates == 0 {
                all.first_ratio_error = metrics.ratio_error;
            }
            all.add_minibatch(&metrics);
            n_minibatches += 1;
            if config.early_stop_kl.is_some_and(|limit| metrics.approx_kl > limit) {
                break 'epochs; // measured before this minibatch's step, which is skipped too
            }
            let norms = stores.map(|store| clip_grad_norm(&mut grads, store, config.max_grad_norm));
            let [policy, critic] = norms;
            (all.grad_norm, all.critic_grad_norm) = (policy?, critic?);
            let norm = all.grad_norm + all.critic_grad_norm;
            ensure!(norm.is_finite(), "the gradient's norm is {norm}: try a smaller --lr");
            actor_critic.policy.optimizer.step(&grads, lr)?;
            actor_critic.critic.optimizer.step(&grads, critic_lr)?;
            all.updates += 1;
        }
    }
    actor_critic.progress.updates += all.updates;
    Ok(all.mean_over(n_minibatches))
}

/// Splits `items` into `n` slices whose lengths differ by at most one; empty ones are left out.
fn split_evenly<T>(items: &[T], n: usize) -> impl Iterator<Item = &[T]> {
    let start = move |i: usize| i * items.len() / n;
    (0..n).map(move |i| &items[start(i)..start(i + 1)]).filter(|slice| !slice.is_empty())
}

/// Groups of an experience, and their fraction of a minibatch's tokens.
struct MicroBatch<'a> {
    experience: &'a PpoExperience,
    groups: &'a [usize],
    token_fraction: f64,
}

/// Loss of a micro-batch: ().
fn micro_batch_loss(
    models: &PpoModels,
    micro_batch: &MicroBatch<'_>,
    config: &PpoUpdateConfig,
    temperature: f64,
    metrics: &mut MinibatchMetrics,
) -> Result<Tensor> {
    let (policy, experience) = (&models.policy, micro_batch.experience);
    let groups = micro_batch.groups.iter().map(|&group| &experience.groups[group]);
    let batch = TokenBatch::from_groups(groups, policy.config(), policy.device())?;
    let (mask, t) = (&batch.mask, batch.mask.dim(1)?);
    let rows = |x: &Tensor| experience.rows_of_groups(x, micro_batch.groups, t); // (R, T)
    let (old, advantages) = (rows(&experience.old_log_probs)?, rows(&experience.advantages)?);
    let (old_values, returns) = (rows(&experience.values)?, rows(&experience.returns)?);

    let hidden = batch.hidden(policy)?;
    let LogProbsAndEntropy { log_probs, entropy } =
        log_probs_and_entropy(policy, &batch, &hidden, temperature)?;
    let values = models.critic.token_values(&batch, || Ok(hidden.clone()))?;
    let surrogate = clipped_surrogate(&log_probs, &old, &advantages, config.clip_range)?;
    let value = value_loss(&values, &old_values, &returns, config.value_clip_range)?;

    let tokens = TokenTensors {
        mask,
        log_probs: &log_probs,
        old_log_probs: &old,
        values: &values,
        old_values: &old_values,
        returns: &returns,
        policy_loss: &surrogate,
        value_loss: &value,
        entropy: &entropy,
    };
    metrics.add_micro_batch(&tokens, micro_batch.token_fraction, config)?;
    metrics.tokens_read += batch.n_input_tokens();
    Ok(total_loss(&surrogate, &value, &entropy, mask, config.loss_weights)?)
}
