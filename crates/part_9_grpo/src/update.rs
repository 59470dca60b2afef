//! The update: what was drawn, in parts that fit into memory, and the gradient of all of them.
//!
//! A group's prompt is computed once in the forward and the backward pass, whatever the number of its completions: the row is
//! part 8's, `TokenBatch`. Groups of which no completion takes part are left out, and groups without signal where nothing but the
//! advantage could move the policy.

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

/// Groups whose gradient is computed at a time.
pub struct MicroBatch {
    batch: TokenBatch,
    loss_inputs: LossInputs,
    temperature: f64,
}

/// What an update saw of the policy, over all tokens that were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GrpoUpdateMetrics {
    /// The share of tokens whose ratio has left the clip, on either side, whatever the sign of the advantage.
    pub clip_fraction: f64,
    /// The largest ratio.
    pub ratio_max: f64,
    /// The mean of |log π − log π_behaviour|: before the first step, how far the sampler and the loss disagree.
    #[serde(alias = "mismatch")]
    pub sampler_log_prob_diff: f64,
    /// Mean k3 estimate of the KL to the reference model, in nats per token; `None` without one.
    #[serde(alias = "kl")]
    pub kl_per_token: Option<f64>,
    /// The same in nats per completion: summed over its tokens, mean over completions.
    #[serde(default)]
    pub kl_per_completion: Option<f64>,
}

/// The parts of `experience`, `groups_each` groups at a time, and what `reference` says of them.
///
/// # Errors
/// When memory is short.
pub fn micro_batches(
    experience: &GrpoExperience,
    objective: &Objective,
    twin: &GptModern,
    reference: Option<&GptModern>,
    groups_each: usize,
) -> Result<Vec<MicroBatch>> {
    let samples = experience.rewards.len() / experience.groups.len().max(1);
    let mut chosen: Vec<usize> = (0..experience.groups.len())
        .filter(|&group| experience.is_included(group))
        .filter(|&group| objective.kl.is_some() || experience.has_nonzero_advantage(group))
        .collect();
    chosen.sort_by_key(|&group| n_group_tokens(&experience.groups[group])); // padding is computed in vain
    let (mut parts, temperature) = (Vec::new(), experience.temperature);
    for chosen in chosen.chunks(groups_each.max(1)) {
        let groups = || chosen.iter().map(|&group| &experience.groups[group]);
        let batch = TokenBatch::from_groups(groups(), twin.config(), twin.device())?;
        let spread = |values: &[f32]| -> Result<Tensor> {
            let own = chosen.iter().flat_map(|&group| &values[group * samples..][..samples]);
            let own = Tensor::from_iter(own.copied(), twin.device())?.unsqueeze(1)?; // (R, 1)
            Ok(own.broadcast_mul(&batch.mask)?) // (R, T)
        };
        let scored = |model| log_probs(model, &batch, temperature);
        let reference = reference.filter(|_| objective.kl.is_some());
        let drawn = LossInputs {
            behavior_log_probs: batch.behavior_log_probs(groups())?,
            old_log_probs: objective.importance_sampling_cap.map(|_| scored(twin)).transpose()?,
            ref_log_probs: reference.map(scored).transpose()?,
            advantages: spread(&experience.advantages)?,
            weights: spread(&experience.weights)?,
        };
        parts.push(MicroBatch { batch, loss_inputs: drawn, temperature });
    }
    Ok(parts)
}

/// The loss of all `parts`, its gradients, and what was seen on the way.
///
/// # Errors
/// When there is no part, or memory is short.
pub fn gradients(
    policy: &GptModern,
    parameters: &Parameters,
    parts: &[MicroBatch],
    objective: &Objective,
) -> Result<(f64, GradStore, GrpoUpdateMetrics)> {
    let (mut seen, mut n_tokens, mut n_completions) = (GrpoUpdateMetrics::default(), 0., 0);
    let (loss, grads) = sum_of_gradients(parameters, parts, 1., |part| {
        let MicroBatch { batch, loss_inputs: drawn, temperature } = part;
        let now = log_probs(policy, batch, *temperature)?; // (R, T)
        n_completions += now.dim(0)?;
        n_tokens += seen.add_micro_batch(&now, drawn, &batch.mask, objective)?;
        objective.loss(&now, drawn)
    })?;
    Ok((loss, grads, seen.mean_over(n_tokens, n_completions)))
}

impl GrpoUpdateMetrics {
    /// Adds up what is seen at each token; gives their number.
    fn add_micro_batch(
        &mut self,
        now: &Tensor,
        drawn: &LossInputs,
        mask: &Tensor,
        objective: &Objective,
    ) -> Result<f64> {
        let numbers = |x: &Tensor| x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (now, behaviour, mask) =
            (numbers(now)?, numbers(&drawn.behavior_log_probs)?, numbers(mask)?);
        let old = drawn.old_log_probs.as_ref().map(numbers).transpose()?;
        let reference = drawn.ref_log_probs.as_ref().map(numbers).transpose()?;
        let (low, high) = (1. - objective.clip_range.low, 1. + objective.clip_range.high);
        let mut n = 0.;
        for at in (0..now.len()).filter(|&at| mask[at] > 0.) {
            let of = |x: &[f32]| f64::from(x[at]);
            let ratio = (of(&now) - of(old.as_deref().unwrap_or(&behaviour))).exp();
            self.clip_fraction += f64::from(u8::from(ratio < low || ratio > high));
            self.ratio_max = self.ratio_max.max(ratio);
            self.sampler_log_prob_diff += (of(&now) - of(&behaviour)).abs();
            if let Some(reference) = &reference {
                let d = of(reference) - of(&now);
                self.kl_per_token = Some(self.kl_per_token.unwrap_or(0.) + d.exp() - d - 1.);
            }
            n += 1.;
        }
        Ok(n)
    }

    /// Means of these sums over `n_tokens` tokens of `n_completions` completions.
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

/// Tokens of a group's row.
fn n_group_tokens(group: &RolloutGroup) -> usize {
    group.prompt.len()
        + group.completions.iter().map(|response| response.tokens.len()).sum::<usize>()
}
