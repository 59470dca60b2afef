//! 9.5 Metrics of an optimizer step: sums over the tokens of its micro-batches, on all ranks.

use anyhow::Result;
use candle_core::{DType, Tensor};
use ppo::kl::{KlEstimator, ratio};
use ppo::masked::masked;
use ranks::Ranks;
use serde::{Deserialize, Serialize};

use crate::experience::MicroBatch;
use crate::objective::Objective;

/// Metrics of one optimizer step, over all sampled tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "SavedUpdateMetrics")]
pub struct GrpoUpdateMetrics {
    /// Loss before the step.
    pub loss: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// KL to the reference model in nats per token, k3 estimate, TRL's `kl`; `None` without one.
    #[serde(rename = "kl")]
    pub kl_per_token: Option<f64>,
    /// KL to the reference model in nats per completion, k3 estimate.
    pub kl_per_completion: Option<f64>,
    /// Fraction of tokens whose ratio is outside the clip range, whatever the sign of the
    /// advantage.
    pub clip_fraction: f64,
    /// Largest ratio.
    pub ratio_max: f64,
    /// Mean |log π − log π_behavior|: before the first optimizer step, the difference between
    /// sampler and loss.
    pub sampler_log_prob_diff: f64,
}

/// Metrics of a checkpoint. Earlier versions had `kl` per completion, beside `kl_per_token`.
#[derive(Deserialize)]
struct SavedUpdateMetrics {
    loss: f64,
    grad_norm: f64,
    kl: Option<f64>,
    kl_per_token: Option<f64>,
    kl_per_completion: Option<f64>,
    clip_fraction: f64,
    ratio_max: f64,
    sampler_log_prob_diff: f64,
}

impl From<SavedUpdateMetrics> for GrpoUpdateMetrics {
    fn from(saved: SavedUpdateMetrics) -> Self {
        let SavedUpdateMetrics { loss, grad_norm, clip_fraction, ratio_max, kl, .. } = saved;
        let (kl_per_token, kl_per_completion) = match saved.kl_per_token {
            Some(per_token) => (Some(per_token), kl),
            None => (kl, saved.kl_per_completion),
        };
        let sampler_log_prob_diff = saved.sampler_log_prob_diff;
        let new = Self { loss, grad_norm, clip_fraction, ratio_max, ..Self::default() };
        Self { kl_per_token, kl_per_completion, sampler_log_prob_diff, ..new }
    }
}

/// Sums over the tokens of some micro-batches.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TokenSums {
    pub(crate) n_tokens: usize,
    n_completions: usize,
    n_clipped: usize,
    ratio_max: f64,
    sampler_log_prob_diff: f64,
    kl: Option<f64>,
}

impl TokenSums {
    /// Sums over the tokens of `micro_batches`, whose log-probabilities under the policy are
    /// `log_probs`, (R, T) each. They are computed on the device, and read once.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(
        log_probs: &[Tensor],
        micro_batches: &[MicroBatch],
        objective: &Objective,
    ) -> Result<Self> {
        let mut all = Self::default();
        let sums = log_probs.iter().zip(micro_batches);
        let sums = sums.map(|(log_probs, batch)| sums_on_device(log_probs, batch, objective));
        let sums = sums.collect::<candle_core::Result<Vec<_>>>()?;
        if sums.is_empty() {
            return Ok(all); // as a rank without groups
        }
        let sums: Vec<Vec<f64>> = Tensor::stack(&sums, 0)?.to_vec2()?; // waits for the device
        for (sums, MicroBatch { batch, inputs, .. }) in sums.iter().zip(micro_batches) {
            all.n_clipped += sums[0] as usize;
            all.ratio_max = all.ratio_max.max(sums[1]);
            all.sampler_log_prob_diff += sums[2];
            if inputs.ref_log_probs.is_some() {
                all.kl = Some(all.kl.unwrap_or(0.) + sums[3]);
            }
            all.n_tokens += batch.n_tokens();
            all.n_completions += batch.n_completions();
        }
        Ok(all)
    }

    /// Sums over the tokens of all `ranks`, of which `self` has those of this one.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn of_all_ranks(self, ranks: &Ranks) -> Result<Self> {
        Ok(ranks.gather(&self)?.into_iter().reduce(Self::merge).unwrap_or_default())
    }

    fn merge(self, other: Self) -> Self {
        Self {
            n_tokens: self.n_tokens + other.n_tokens,
            n_completions: self.n_completions + other.n_completions,
            n_clipped: self.n_clipped + other.n_clipped,
            ratio_max: self.ratio_max.max(other.ratio_max),
            sampler_log_prob_diff: self.sampler_log_prob_diff + other.sampler_log_prob_diff,
            kl: self.kl.into_iter().chain(other.kl).reduce(|a, b| a + b),
        }
    }

    /// Metrics of an optimizer step on these tokens.
    pub fn update_metrics(&self, loss: f64, grad_norm: f64) -> GrpoUpdateMetrics {
        let n = self.n_tokens.max(1) as f64;
        GrpoUpdateMetrics {
            loss,
            grad_norm,
            clip_fraction: self.n_clipped as f64 / n,
            ratio_max: self.ratio_max,
            sampler_log_prob_diff: self.sampler_log_prob_diff / n,
            kl_per_token: self.kl.map(|kl| kl / n),
            kl_per_completion: self.kl.map(|kl| kl / self.n_completions.max(1) as f64),
        }
    }
}

/// Sums over the tokens of a micro-batch, in f64: (4). The number of ratios outside the clip range,
/// the largest ratio, and the sums of |log π − log π_behavior| and of the KL, 0 without a
/// reference.
fn sums_on_device(
    log_probs: &Tensor,
    micro_batch: &MicroBatch,
    objective: &Objective,
) -> candle_core::Result<Tensor> {
    let MicroBatch { batch, inputs, .. } = micro_batch;
    let in_f64 = |x: &Tensor| x.detach().to_dtype(DType::F64);
    let sum = |x: &Tensor| masked(x, &batch.mask)?.sum_all();
    let (log_probs, behavior) = (in_f64(log_probs)?, in_f64(&inputs.behavior_log_probs)?);
    let old = inputs.old_log_probs.as_ref().map(in_f64).transpose()?;
    let ratios = ratio(&log_probs, old.as_ref().unwrap_or(&behavior))?; // (R, T)
    let n_clipped = match objective.clip_range {
        Some(clip) => {
            let outside = ratios.lt(1. - clip.low)?.maximum(&ratios.gt(1. + clip.high)?)?;
            sum(&outside.to_dtype(DType::F64)?)?
        }
        None => Tensor::zeros((), DType::F64, ratios.device())?,
    };
    let kl = match &inputs.ref_log_probs {
        Some(reference) => sum(&KlEstimator::K3.estimate(&log_probs, &in_f64(reference)?)?)?,
        None => Tensor::zeros((), DType::F64, ratios.device())?,
    };
    let ratio_max = masked(&ratios, &batch.mask)?.max_all()?;
    let diff = sum(&(&log_probs - &behavior)?.abs()?)?;
    Tensor::stack(&[n_clipped, ratio_max, diff, kl], 0)
}
