//! 8.4 The update: several passes over the same experience, in shuffled mini-batches.
//!
//! ```text
//! for each epoch, for each mini-batch:  ratio → clipped surrogate + value loss − entropy bonus → one step of the optimizers
//! ```
//!
//! The first mini-batch of the first epoch is computed by the policy that wrote it, so its ratios are 1; from then on they show how far
//! the policy has moved. Once it has moved further than wanted, the rest is left out.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use scaling::accumulation::sum_of_gradients_in_stores;
use tensor_core::{Rng, clip_grad_norm};

use crate::actor_critic::{ActorCritic, PpoModels};
use crate::experience::PpoExperience;
use crate::log_probs::log_probs_and_entropy;
use crate::losses::{Clip, LossWeights, clipped_surrogate, total_loss, value_loss};
use crate::ptx_loss::PtxLoss;
use crate::token_batch::TokenBatch;
use crate::update_metrics::{MinibatchMetrics, PpoUpdateMetrics, TokenTensors};

/// How experience is learned from.
#[derive(Debug, Clone, Copy)]
pub struct PpoUpdateConfig {
    /// Passes over it.
    pub ppo_epochs: usize,
    /// Steps of the optimizers in each.
    pub n_minibatches: usize,
    /// Parts of a mini-batch that are computed one after the other.
    pub grad_accum_steps: usize,
    /// ε of the ratio.
    pub clip_range: Clip,
    /// ε of the values.
    pub value_clip_range: Option<f64>,
    /// What the parts of the loss weigh.
    pub loss_weights: LossWeights,
    /// Passes end when the policy has moved this far from the one that wrote, in nats per token.
    pub early_stop_kl: Option<f64>,
    /// Largest gradient norm, of the policy and of the critic.
    pub max_grad_norm: f64,
}

impl PpoUpdateConfig {
    /// How many of `groups` groups are computed at a time.
    pub fn micro_batch_size(&self, groups: usize) -> usize {
        groups.div_ceil(self.n_minibatches.max(1)).div_ceil(self.grad_accum_steps.max(1)).max(1)
    }
}

/// What an update is given beside the experience.
#[derive(Debug)]
pub struct UpdateInputs<'a> {
    /// How is learned.
    pub config: &'a PpoUpdateConfig,
    /// T of the rollout.
    pub temperature: f64,
    /// The learning rates of policy and critic.
    pub rates: [f64; 2],
    /// Examples that are mixed in.
    pub ptx_loss: Option<&'a mut PtxLoss>,
}

/// Learns from `experience`; the order of its groups is drawn from the stream.
///
/// # Errors
/// When a loss or a gradient is no number, or memory is short.
pub fn update(
    learner: &mut ActorCritic,
    models: &PpoModels,
    experience: &PpoExperience,
    pass: UpdateInputs<'_>,
    rng: &mut Rng,
) -> Result<PpoUpdateMetrics> {
    let UpdateInputs { config, temperature, rates: [rate, critic_rate], ptx_loss: mut mix } = pass;
    let mut order: Vec<usize> = (0..experience.groups.len()).collect();
    let (mut all, mut looked_at) = (PpoUpdateMetrics::default(), 0);
    'epochs: for _ in 0..config.ppo_epochs {
        rng.shuffle(&mut order);
        for chosen in split_evenly(&order, config.n_minibatches) {
            let (mut seen, tokens) =
                (MinibatchMetrics::default(), experience.n_tokens(chosen) as f64);
            let parts: Vec<&[usize]> = split_evenly(chosen, config.grad_accum_steps).collect();
            let stores = [&learner.policy.parameters, &learner.critic.parameters];
            let (loss, mut grads) = sum_of_gradients_in_stores(&stores, &parts, 1., |groups| {
                let share = experience.n_tokens(groups) as f64 / tokens;
                let part = MicroBatch { experience, groups, token_fraction: share };
                let mut loss = micro_batch_loss(models, &part, config, temperature, &mut seen)?;
                if let Some(mix) = &mut mix {
                    loss = (loss + mix.loss(&models.policy)?)?;
                }
                Ok((loss * share)?) // a mean over tokens: a part counts as many as it has
            })?;
            ensure!(loss.is_finite(), "the loss is {loss}: try a smaller --lr");
            if all.updates == 0 {
                all.first_ratio_error = seen.ratio_error;
            }
            all.add_minibatch(&seen);
            looked_at += 1;
            if config.early_stop_kl.is_some_and(|target| seen.approx_kl > target) {
                break 'epochs; // this mini-batch has shown it: no further step
            }
            let norms = stores.map(|store| clip_grad_norm(&mut grads, store, config.max_grad_norm));
            let [policy, critic] = norms;
            (all.grad_norm, all.critic_grad_norm) = (policy?, critic?);
            let norm = all.grad_norm + all.critic_grad_norm;
            ensure!(norm.is_finite(), "the gradient's norm is {norm}: try a smaller --lr");
            learner.policy.optimizer.step(&grads, rate)?;
            learner.critic.optimizer.step(&grads, critic_rate)?;
            all.updates += 1;
        }
    }
    learner.progress.updates += all.updates;
    Ok(all.mean_over(looked_at))
}

/// `items` in `n` runs of one length, give or take one.
fn split_evenly<T>(items: &[T], n: usize) -> impl Iterator<Item = &[T]> {
    let start = move |i: usize| i * items.len() / n;
    (0..n).map(move |i| &items[start(i)..start(i + 1)]).filter(|run| !run.is_empty())
}

/// Some groups of an experience, and their share of a mini-batch's tokens.
struct MicroBatch<'a> {
    experience: &'a PpoExperience,
    groups: &'a [usize],
    token_fraction: f64,
}

/// The loss of a part: ().
fn micro_batch_loss(
    models: &PpoModels,
    part: &MicroBatch<'_>,
    config: &PpoUpdateConfig,
    temperature: f64,
    seen: &mut MinibatchMetrics,
) -> Result<Tensor> {
    let (policy, experience) = (&models.policy, part.experience);
    let groups = part.groups.iter().map(|&group| &experience.groups[group]);
    let batch = TokenBatch::from_groups(groups, policy.config(), policy.device())?;
    let (mask, t) = (&batch.mask, batch.mask.dim(1)?);
    let rows = |x: &Tensor| experience.rows_of_groups(x, part.groups, t); // (R, T) of these groups
    let (old, advantages) = (rows(&experience.old_log_probs)?, rows(&experience.advantages)?);
    let (old_values, returns) = (rows(&experience.values)?, rows(&experience.returns)?);

    let knows = batch.hidden(policy)?;
    let scored = log_probs_and_entropy(policy, &batch, &knows, temperature)?;
    let values = models.critic.token_values(&batch, || Ok(knows.clone()))?;
    let surrogate = clipped_surrogate(&scored.log_probs, &old, &advantages, config.clip_range)?;
    let value = value_loss(&values, &old_values, &returns, config.value_clip_range)?;

    let tokens = TokenTensors {
        mask,
        log_probs: [&scored.log_probs, &old],
        values: [&values, &old_values, &returns],
        losses: [&surrogate, &value, &scored.entropy],
    };
    seen.add_micro_batch(&tokens, part.token_fraction, config)?;
    seen.tokens_read += batch.n_input_tokens();
    Ok(total_loss(&surrogate, &value, &scored.entropy, mask, config.loss_weights)?)
}
