//! 2.4 AdamW: every weight moves by about the learning rate per step, whatever the scale of its
//! gradient. Adam (Kingma and Ba, <https://arxiv.org/abs/1412.6980>) divides the mean of the past
//! gradients by the root of the mean of their squares; AdamW shrinks the weights besides
//! (Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>).
//!
//! ```text
//! m ← β₁ m + (1 − β₁) g      m̂ = m / (1 − β₁ᵗ)        mean of the gradients (momentum)
//! v ← β₂ v + (1 − β₂) g²     v̂ = v / (1 − β₂ᵗ)        mean of their squares
//! p ← p − lr · λ · p − lr · m̂ / (√v̂ + ε)
//! ```
//!
//! m and v start at 0 and are too small at first by exactly the factor that the bias correction
//! divides by: if all gradients are equal, m̂ = g and v̂ = g², and each step is lr · sign(g).
//!
//! The decay is not part of g. There it would be divided by √v̂, so that weights with large
//! gradients would hardly decay. It shrinks matrices only: a norm's scale belongs at 1, and a model
//! does not overfit by its few biases. Of an embedding that is not the output matrix too, the row
//! of a rare token would shrink at every step while the token occurs in few.

use candle_core::{Result, Tensor};
use tensor_core::{AdamWConfig, WeightDecay};

/// Moments of one parameter, with its shape.
#[derive(Debug, Clone)]
pub struct AdamMoments {
    /// First moment m, 0 at first.
    pub first: Tensor,
    /// Second moment v, 0 at first.
    pub second: Tensor,
    /// Number of updates t.
    pub updates: i32,
}

// ANCHOR: update
/// Parameter `p` and its `moments` after one update with the gradient `grad`, all of one shape.
/// Reference for the fused [`tensor_core::AdamW`], which training calls; it updates all parameters,
/// in place.
pub fn adamw_update(
    p: &Tensor,
    grad: &Tensor,
    moments: &AdamMoments,
    lr: f64,
    decay: WeightDecay,
    config: &AdamWConfig,
) -> Result<(Tensor, AdamMoments)> {
    let AdamWConfig { beta1, beta2, eps, weight_decay, .. } = *config;
    let updates = moments.updates + 1;
    let first = ((&moments.first * beta1)? + (grad * (1. - beta1))?)?;
    let second = ((&moments.second * beta2)? + (grad.sqr()? * (1. - beta2))?)?;
    let unbiased_first = (&first / (1. - beta1.powi(updates)))?;
    let unbiased_second = (&second / (1. - beta2.powi(updates)))?;
    let lambda = match decay {
        WeightDecay::Yes => weight_decay,
        WeightDecay::No => 0.,
    };
    let decayed = (p * (1. - lr * lambda))?;
    let step = (unbiased_first / (unbiased_second.sqrt()? + eps)?)?;
    Ok(((decayed - (step * lr)?)?, AdamMoments { first, second, updates }))
}
// ANCHOR_END: update
