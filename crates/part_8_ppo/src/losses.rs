//! 8.3 The objective of PPO (Schulman et al., <https://arxiv.org/abs/1707.06347>), token by token.
//!
//! ```text
//! ratio  r = π(a) / π_old(a)
//! policy   −min(r A, clip(r, 1 − ε, 1 + ε) A)
//! value    ½ max((V − R)², (clip(V, V_old − ε, V_old + ε) − R)²)
//! loss   = mean(policy) + c_v mean(value) − c_e mean(entropy)
//! ```
//!
//! The clip takes the gradient away once the ratio has moved far enough in the direction that the advantage wants: a second or
//! third pass over the same responses cannot run away with them. On the first pass every ratio is 1.

use candle_core::{DType, Result, Tensor};

use crate::kl::ratio;
use crate::masked::masked_mean;

/// How far a ratio may move and still have a gradient: from 1 − `low` to 1 + `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// ε below.
    pub low: f64,
    /// ε above.
    pub high: f64,
}

impl Clip {
    /// ε on both sides, as in the paper.
    pub fn symmetric(epsilon: f64) -> Self {
        Self { low: epsilon, high: epsilon }
    }
}

/// −min(r A, clip(r) A) of each token, for `log_probs` of now and `old` ones of when it was drawn, and `advantages`, all of one shape.
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

/// The share of the tokens of `mask` whose ratio has left the clip.
///
/// # Errors
/// When the shapes differ.
pub fn clip_fraction(log_probs: &Tensor, old: &Tensor, mask: &Tensor, clip: Clip) -> Result<f64> {
    let r = ratio(log_probs, old)?;
    let outside = r.lt(1. - clip.low)?.maximum(&r.gt(1. + clip.high)?)?;
    masked_mean(&outside.to_dtype(DType::F64)?, mask)?.to_scalar()
}

/// ½ max((V − R)², (V_clipped − R)²) of each token, for `values` of now, `old` ones of the rollout, and `returns`, all of one shape;
/// without a `clip`, ½ (V − R)².
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

/// The share of the tokens of `mask` whose value loss is that of the clipped value.
///
/// # Errors
/// When the shapes differ.
pub fn value_clip_fraction(
    [values, old, returns]: [&Tensor; 3],
    mask: &Tensor,
    epsilon: f64,
) -> Result<f64> {
    let (free, clipped) =
        (value_loss(values, old, returns, None)?, value_loss(values, old, returns, Some(epsilon))?);
    masked_mean(&clipped.gt(&free)?.to_dtype(DType::F64)?, mask)?.to_scalar()
}

/// What the parts of the loss weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// c_v
    pub value_coef: f64,
    /// c_e: a bonus for being undecided.
    pub entropy_coef: f64,
}

/// The loss, (): `policy`, `value` and `entropy` of each token, averaged over those of `mask`, all of one shape.
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
