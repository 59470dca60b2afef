//! 8.4 The objective of PPO (Schulman et al., <https://arxiv.org/abs/1707.06347>), token by token.
//!
//! ```text
//! ratio  ρ = π(a) / π_old(a)
//! policy   −min(ρ A, clip(ρ, 1 − ε, 1 + ε) A)
//! value    ½ max((V − R)², (clip(V, V_old − ε, V_old + ε) − R)²)
//! loss   = mean(policy) + c_v mean(value) − c_e mean(entropy)
//! ```
//!
//! The clip removes the gradient once the ratio has moved by ε in the direction of the advantage,
//! which bounds what several epochs over the same rollout can change. In the first minibatch every
//! ratio is 1.

use candle_core::{DType, Result, Tensor};

use crate::kl::ratio;
use crate::masked::masked_mean;

/// Clip range of the ratio: from 1 − `low` to 1 + `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Lower ε.
    pub low: f64,
    /// Upper ε.
    pub high: f64,
}

impl Clip {
    /// Clip range with one ε for both sides, as in the paper.
    pub fn symmetric(epsilon: f64) -> Self {
        Self { low: epsilon, high: epsilon }
    }
}

// ANCHOR: clip
/// Clipped surrogate loss −min(ρ A, clip(ρ) A) per token, from current `log_probs`, `old` ones of
/// the rollout and `advantages`, all of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn clipped_surrogate(
    log_probs: &Tensor,
    old: &Tensor,
    advantages: &Tensor,
    clip: Clip,
) -> Result<Tensor> {
    let r = ratio(log_probs, old)?;
    let free = (&r * advantages)?;
    let bounded = (r.clamp(1. - clip.low, 1. + clip.high)? * advantages)?;
    free.minimum(&bounded)?.neg()
}
// ANCHOR_END: clip

/// Fraction of the tokens of `mask` whose ratio is outside the clip range.
///
/// # Errors
/// When the shapes differ.
pub fn clip_fraction(log_probs: &Tensor, old: &Tensor, mask: &Tensor, clip: Clip) -> Result<f64> {
    clip_fraction_on_device(log_probs, old, mask, clip)?.to_scalar()
}

/// [`clip_fraction`] without reading it, which would wait for the device: (), f64.
pub(crate) fn clip_fraction_on_device(
    log_probs: &Tensor,
    old: &Tensor,
    mask: &Tensor,
    clip: Clip,
) -> Result<Tensor> {
    let r = ratio(log_probs, old)?;
    let outside = r.lt(1. - clip.low)?.maximum(&r.gt(1. + clip.high)?)?;
    masked_mean(&outside.to_dtype(DType::F64)?, mask)
}

/// Value loss ½ max((V − R)², (V_clipped − R)²) per token, from current `values`, `old` ones of the
/// rollout and `returns`, all of one shape; without a `clip`, ½ (V − R)².
///
/// # Errors
/// When the shapes differ.
pub fn value_loss(
    values: &Tensor,
    old: &Tensor,
    returns: &Tensor,
    clip: Option<f64>,
) -> Result<Tensor> {
    let squared = |values: &Tensor| (values - returns)?.sqr();
    let free = squared(values)?;
    let Some(epsilon) = clip else { return free / 2. };
    free.maximum(&squared(&(old + (values - old)?.clamp(-epsilon, epsilon)?)?)?)? / 2.
}

/// Fraction of the tokens of `mask` whose value loss is that of the clipped value.
///
/// # Errors
/// When the shapes differ.
pub fn value_clip_fraction(
    values: &Tensor,
    old: &Tensor,
    returns: &Tensor,
    mask: &Tensor,
    epsilon: f64,
) -> Result<f64> {
    value_clip_fraction_on_device(values, old, returns, mask, epsilon)?.to_scalar()
}

/// [`value_clip_fraction`] without reading it: (), f64.
pub(crate) fn value_clip_fraction_on_device(
    values: &Tensor,
    old: &Tensor,
    returns: &Tensor,
    mask: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let (free, clipped) =
        (value_loss(values, old, returns, None)?, value_loss(values, old, returns, Some(epsilon))?);
    masked_mean(&clipped.gt(&free)?.to_dtype(DType::F64)?, mask)
}

/// Coefficients of the terms of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Value loss coefficient c_v.
    pub value_coef: f64,
    /// Entropy bonus coefficient c_e.
    pub entropy_coef: f64,
}

/// PPO loss, (): per-token `policy` and `value` losses and `entropy`, all of one shape, averaged
/// over the tokens of `mask`.
///
/// # Errors
/// When the shapes differ.
pub fn total_loss(
    policy: &Tensor,
    value: &Tensor,
    entropy: &Tensor,
    mask: &Tensor,
    weights: LossWeights,
) -> Result<Tensor> {
    let policy = masked_mean(policy, mask)?;
    let value = (masked_mean(value, mask)? * weights.value_coef)?;
    (policy + value)? - (masked_mean(entropy, mask)? * weights.entropy_coef)?
}
