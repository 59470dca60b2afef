//! Update: the experience of a step in micro-batches, and the gradient over all of them.
//!
//! A group's prompt is computed once in the forward and the backward pass, whatever the number of
//! its completions, in a row of part 8's `TokenBatch`. Groups without an included completion are
//! left out, and without a KL term so are groups whose advantages are all 0.

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use modern::GptModern;
use ppo::log_probs::log_probs;
use ppo::{RolloutGroup, TokenBatch};
use scaling::accumulation::sum_of_gradients;
use serde::{Deserialize, Serialize};
use tensor_core::Parameters;

use crate::{GrpoExperience, LossInputs, Objective};

/// Groups whose gradient is computed together.
pub struct MicroBatch {
    batch: TokenBatch,
    loss_inputs: LossInputs,
    temperature: f64,
}

/// Metrics of an update over all sampled tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GrpoUpdateMetrics {
    /// Fraction of tokens whose ratio is outside the clip range, whatever the sign of the
    /// advantage.
    pub clip_fraction: f64,
    /// Largest ratio.
    pub ratio_max: f64,
    /// Mean |log π − log π_behavior|: before the first optimizer step, the difference between
    /// sampler and loss.
    #[serde(alias = "mismatch")]
    pub sampler_log_prob_diff: f64,
    /// KL to the reference model in nats per token, k3 estimate; `None` without one.
    #[serde(alias = "kl")]
    pub kl_per_token: Option<f64>,
    /// KL to the reference model in nats per completion.
    #[serde(default)]
    pub kl_per_completion: Option<f64>,
}

/// Micro-batches of `experience`, `groups_each` groups each, with the log-probabilities that the
/// loss needs under `inference_policy` and `reference`.
///
/// # Errors
/// When memory is short.
pub fn micro_batches(
    experience: &GrpoExperience,
    objective: &Objective,
    inference_policy: &GptModern,
    reference: Option<&GptModern>,
    groups_each: usize,
) -> Result<Vec<MicroBatch>> {
    let group_size = experience.rewards.len() / experience.groups.len().max(1);
    let mut chosen: Vec<usize> = (0..experience.groups.len())
        .filter(|&group| experience.is_included(group))
        .filter(|&group| objective.kl.is_some() || experience.has_nonzero_advantage(group))
        .collect();
    // Groups of similar length together need less padding.
    chosen.sort_by_key(|&group| n_group_tokens(&experience.groups[group]));
    let (config, device) = (inference_policy.config(), inference_policy.device());
    let (mut micro_batches, temperature) = (Vec::new(), experience.temperature);
    for chosen in chosen.chunks(groups_each.max(1)) {
        let groups = || chosen.iter().map(|&group| &experience.groups[group]);
        let batch = TokenBatch::from_groups(groups(), config, device)?;
        let per_token = |values: &[f32]| -> Result<Tensor> {
            let rows = chosen.iter().flat_map(|&group| &values[group * group_size..][..group_size]);
            let rows = Tensor::from_iter(rows.copied(), device)?.unsqueeze(1)?; // (R, 1)
            Ok(rows.broadcast_mul(&batch.mask)?) // (R, T)
        };
        let batch_log_probs = |model| log_probs(model, &batch, temperature);
        let old = objective.importance_sampling_cap.map(|_| batch_log_probs(inference_policy));
        let reference = reference.filter(|_| objective.kl.is_some());
        let loss_inputs = LossInputs {
            behavior_log_probs: batch.behavior_log_probs(groups())?,
            old_log_probs: old.transpose()?,
            ref_log_probs: reference.map(batch_log_probs).transpose()?,
            advantages: per_token(&experience.advantages)?,
            weights: per_token(&experience.weights)?,
        };
        micro_batches.push(MicroBatch { batch, loss_inputs, temperature });
    }
    Ok(micro_batches)
}

/// Loss of all `micro_batches`, its gradients, and the metrics of the update.
///
/// # Errors
/// When there are no micro-batches, or memory is short.
pub fn gradients(
    policy: &GptModern,
    parameters: &Parameters,
    micro_batches: &[MicroBatch],
    objective: &Objective,
) -> Result<(f64, GradStore, GrpoUpdateMetrics)> {
    let (mut metrics, mut n_tokens, mut n_completions) = (GrpoUpdateMetrics::default(), 0., 0);
    let (loss, grads) = sum_of_gradients(parameters, micro_batches, 1., |micro_batch| {
        let MicroBatch { batch, loss_inputs, temperature } = micro_batch;
        let log_probs = log_probs(policy, batch, *temperature)?; // (R, T)
        n_completions += log_probs.dim(0)?;
        n_tokens += metrics.add_micro_batch(&log_probs, loss_inputs, &batch.mask, objective)?;
        objective.loss(&log_probs, loss_inputs)
    })?;
    Ok((loss, grads, metrics.mean_over(n_tokens, n_completions)))
}

impl GrpoUpdateMetrics {
    /// Adds the sums over the tokens of a micro-batch; returns the number of tokens.
    fn add_micro_batch(
        &mut self,
        log_probs: &Tensor,
        inputs: &LossInputs,
        mask: &Tensor,
        objective: &Objective,
    ) -> Result<f64> {
        let flat = |x: &Tensor| x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (log_probs, behavior, mask) =
            (flat(log_probs)?, flat(&inputs.behavior_log_probs)?, flat(mask)?);
        let old = inputs.old_log_probs.as_ref().map(flat).transpose()?;
        let reference = inputs.ref_log_probs.as_ref().map(flat).transpose()?;
        let (low, high) = (1. - objective.clip_range.low, 1. + objective.clip_range.high);
        let mut n_tokens = 0.;
        for at in (0..log_probs.len()).filter(|&at| mask[at] > 0.) {
            let value = |x: &[f32]| f64::from(x[at]);
            let ratio = (value(&log_probs) - value(old.as_deref().unwrap_or(&behavior))).exp();
            self.clip_fraction += f64::from(u8::from(ratio < low || ratio > high));
            self.ratio_max = self.ratio_max.max(ratio);
            self.sampler_log_prob_diff += (value(&log_probs) - value(&behavior)).abs();
            if let Some(reference) = &reference {
                let log_ratio = value(reference) - value(&log_probs);
                let kl = self.kl_per_token.unwrap_or(0.);
                self.kl_per_token = Some(kl + log_ratio.exp() - log_ratio - 1.);
            }
            n_tokens += 1.;
        }
        Ok(n_tokens)
    }

    /// Means of the sums over `n_tokens` tokens of `n_completions` completions.
    fn mean_over(self, n_tokens: f64, n_completions: usize) -> Self {
        let n = n_tokens.max(1.);
        Self {
            clip_fraction: self.clip_fraction / n,
            ratio_max: self.ratio_max,
            sampler_log_prob_diff: self.sampler_log_prob_diff / n,
            kl_per_token: self.kl_per_token.map(|kl| kl / n),
            kl_per_completion: self.kl_per_token.map(|kl| kl / n_completions.max(1) as f64),
        }
    }
}

/// Number of tokens of a group: its prompt and its completions.
fn n_group_tokens(group: &RolloutGroup) -> usize {
    group.prompt.len() + group.completions.iter().map(|one| one.tokens.len()).sum::<usize>()
}
