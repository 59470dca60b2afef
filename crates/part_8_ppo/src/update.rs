//! 8.4 The update: several passes over the same experience, in shuffled mini-batches.
//!
//! ```text
//! for each epoch, for each mini-batch:  ratio → clipped surrogate + value loss − entropy bonus → one step of the optimizers
//! ```
//!
//! The first mini-batch of the first epoch is computed by the policy that wrote it, so its ratios are 1; from then on they show how far
//! the policy has moved. Once it has moved further than wanted, the rest is left out.

use anyhow::Result;
use candle_core::{DType, Tensor};
use scaling::accumulation::sum_of_all_gradients;
use tensor_core::{Rng, clip_grad_norm};

use crate::experience::Experience;
use crate::kl::{KlEstimator, ratio};
use crate::learner::{Learner, Models};
use crate::losses::{
    Clip, Weights, clip_fraction, clipped_surrogate, total_loss, value_clip_fraction, value_loss,
};
use crate::masked::{masked, masked_mean};
use crate::pretraining_mix::PretrainingMix;
use crate::scoring::score;
use crate::token_batch::TokenBatch;

/// How experience is learned from.
#[derive(Debug, Clone, Copy)]
pub struct UpdateConfig {
    /// Passes over it.
    pub epochs: usize,
    /// Steps of the optimizers in each.
    pub mini_batches: usize,
    /// Parts of a mini-batch that are computed one after the other.
    pub accumulate: usize,
    /// ε of the ratio.
    pub clip: Clip,
    /// ε of the values.
    pub value_clip: Option<f64>,
    /// What the parts of the loss weigh.
    pub weights: Weights,
    /// Passes end when the policy has moved this far from the one that wrote, in nats per token.
    pub target_kl: Option<f64>,
    /// Largest gradient norm, of the policy and of the critic.
    pub grad_clip: f64,
}

impl UpdateConfig {
    /// How many of `groups` groups are computed at a time.
    pub fn at_a_time(&self, groups: usize) -> usize {
        groups.div_ceil(self.mini_batches.max(1)).div_ceil(self.accumulate.max(1)).max(1)
    }
}

/// What an update did; means over its mini-batches.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Updated {
    /// −min(r A, clip(r) A)
    pub policy_loss: f64,
    /// ½ (V − R)²
    pub value_loss: f64,
    /// Nats per token.
    pub entropy: f64,
    /// Share of the tokens whose ratio left the clip.
    pub clip_fraction: f64,
    /// Share of the tokens whose value did.
    pub value_clip_fraction: f64,
    /// The largest ratio of all.
    pub ratio_max: f64,
    /// The furthest from 1 that a ratio of the first mini-batch was, before any step.
    pub first_ratio_error: f64,
    /// How far the policy has moved at the last mini-batch, in nats per token (k3).
    pub approx_kl: f64,
    /// Of the policy's gradient, before clipping.
    pub grad_norm: f64,
    /// Of the critic's.
    pub critic_grad_norm: f64,
    /// Steps of the optimizers.
    pub updates: usize,
    /// Tokens that the models read.
    pub tokens_read: usize,
}

/// What is read off a part of a mini-batch, weighted by its tokens.
#[derive(Default)]
struct Seen {
    policy: f64,
    value: f64,
    entropy: f64,
    clipped: f64,
    value_clipped: f64,
    moved: f64,
    ratio_max: f64,
    ratio_error: f64,
    tokens_read: usize,
}

/// What an update is given beside the experience.
#[derive(Debug)]
pub struct Pass<'a> {
    /// How is learned.
    pub config: &'a UpdateConfig,
    /// T of the rollout.
    pub temperature: f64,
    /// The learning rates of policy and critic.
    pub rates: [f64; 2],
    /// Examples that are mixed in.
    pub mix: Option<&'a mut PretrainingMix>,
}

/// Learns from `experience`; the order of its groups is drawn from the stream.
///
/// # Errors
/// When a loss is no number, or memory is short.
pub fn update(
    learner: &mut Learner,
    models: &Models,
    experience: &Experience,
    pass: Pass<'_>,
    rng: &mut Rng,
) -> Result<Updated> {
    let Pass { config, temperature, rates: [rate, critic_rate], mut mix } = pass;
    let groups = experience.groups.len();
    let mut order: Vec<usize> = (0..groups).collect();
    let (mut all, mut looked_at) = (Updated::default(), 0);
    'epochs: for _ in 0..config.epochs {
        rng.shuffle(&mut order);
        for chosen in order.chunks(groups.div_ceil(config.mini_batches)) {
            let (mut seen, parts) = (Seen::default(), parts(chosen, config, groups));
            let tokens = n_tokens(experience, chosen) as f64;
            let stores = [&learner.policy.parameters, &learner.critic.parameters];
            let (loss, mut grads) = sum_of_all_gradients(&stores, &parts, 1., |part| {
                let share = n_tokens(experience, part) as f64 / tokens;
                let place = (config, temperature, share);
                let mut loss = part_loss(models, experience, part, place, &mut seen)?;
                if let Some(mix) = &mut mix {
                    loss = (loss + mix.loss(&models.policy)?)?;
                }
                Ok((loss * share)?) // a mean over tokens: a part counts as many as it has
            })?;
            anyhow::ensure!(loss.is_finite(), "the loss is {loss}: try a smaller --lr");
            if all.updates == 0 {
                all.first_ratio_error = seen.ratio_error;
            }
            all.take(&seen);
            looked_at += 1;
            if config.target_kl.is_some_and(|target| seen.moved > target) {
                break 'epochs; // this mini-batch has shown it: no further step
            }
            let [policy, critic] = stores;
            all.grad_norm = clip_grad_norm(&mut grads, policy, config.grad_clip)?;
            all.critic_grad_norm = clip_grad_norm(&mut grads, critic, config.grad_clip)?;
            learner.policy.optimizer.step(&grads, rate)?;
            learner.critic.optimizer.step(&grads, critic_rate)?;
            all.updates += 1;
        }
    }
    learner.state.updates += all.updates;
    Ok(all.averaged(looked_at))
}

/// The groups of a mini-batch in parts.
fn parts(chosen: &[usize], config: &UpdateConfig, groups: usize) -> Vec<Vec<usize>> {
    chosen.chunks(config.at_a_time(groups)).map(<[usize]>::to_vec).collect()
}

fn n_tokens(experience: &Experience, groups: &[usize]) -> usize {
    let responses = groups.iter().flat_map(|&group| &experience.groups[group].responses);
    responses.map(|response| response.tokens.len()).sum()
}

/// The loss of the groups `part`: ().
fn part_loss(
    models: &Models,
    experience: &Experience,
    part: &[usize],
    (config, temperature, share): (&UpdateConfig, f64, f64),
    seen: &mut Seen,
) -> Result<Tensor> {
    let (policy, device) = (&models.policy, models.policy.device());
    let groups = part.iter().map(|&group| &experience.groups[group]);
    let batch = TokenBatch::of(groups, policy.config(), device)?;
    let (mask, t) = (&batch.mask, batch.mask.dim(1)?);
    let rows = |x: &Tensor| experience.rows(x, part, t); // (R, T) of these groups
    let (old, advantages) = (rows(&experience.log_probs)?, rows(&experience.advantages)?);
    let (old_values, returns) = (rows(&experience.values)?, rows(&experience.returns)?);

    let knows = batch.hidden(policy)?;
    let scored = score(policy, &batch, &knows, temperature)?;
    let values = models.critic.values(&batch, &knows)?.before;
    let surrogate = clipped_surrogate(&scored.log_probs, &old, &advantages, config.clip)?;
    let value = value_loss(&values, &old_values, &returns, config.value_clip)?;

    let now = scored.log_probs.detach();
    let mean = |x: &Tensor| -> Result<f64> {
        Ok(share * masked_mean(&x.detach().to_dtype(DType::F64)?, mask)?.to_scalar::<f64>()?)
    };
    seen.policy += mean(&surrogate)?;
    seen.value += mean(&value)?;
    seen.entropy += mean(&scored.entropy)?;
    seen.moved += mean(&KlEstimator::K3.estimate(&old, &now)?)?;
    seen.clipped += share * clip_fraction(&now, &old, mask, config.clip)?;
    if let Some(clip) = config.value_clip {
        let values = [&values.detach(), &old_values, &returns];
        seen.value_clipped += share * value_clip_fraction(values, mask, clip)?;
    }
    let ratio = masked(&ratio(&now, &old)?, mask)?;
    seen.ratio_max = seen.ratio_max.max(largest(&ratio)?);
    let error = masked(&(ratio - 1.)?.abs()?, mask)?;
    seen.ratio_error = seen.ratio_error.max(largest(&error)?);
    seen.tokens_read += batch.n_read();
    Ok(total_loss(&surrogate, &value, &scored.entropy, mask, config.weights)?)
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.max_all()?.to_scalar::<f32>()?))
}

impl Updated {
    /// Adds what was seen of a mini-batch.
    fn take(&mut self, seen: &Seen) {
        self.policy_loss += seen.policy;
        self.value_loss += seen.value;
        self.entropy += seen.entropy;
        self.clip_fraction += seen.clipped;
        self.value_clip_fraction += seen.value_clipped;
        self.ratio_max = self.ratio_max.max(seen.ratio_max);
        self.approx_kl = seen.moved;
        self.tokens_read += seen.tokens_read;
    }

    /// The sums over `n` mini-batches as means.
    fn averaged(mut self, n: usize) -> Self {
        let n = n.max(1) as f64;
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
