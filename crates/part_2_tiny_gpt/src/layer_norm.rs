//! 2.3 Layer normalization, the norm of the model: the channels of each token get mean 0 and
//! variance 1, then a learned scale and shift. So the input of every layer has the same scale,
//! however far the residual stream has grown (Ba, Kiros and Hinton,
//! <https://arxiv.org/abs/1607.06450>).
//!
//! ```text
//! y = (x − mean(x)) / √(variance(x) + ε) · weight + bias
//! ```
//!
//! ε keeps the division finite for a token whose channels are all equal.

use candle_core::{D, Result, Tensor};

// ANCHOR: layer_norm
/// Layer norm of each row of `x: (.., C)`, scaled by `weight: (C)` and shifted by `bias: (C)`.
/// Reference for the fused [`ops::layer_norm`](fn@tensor_core::ops::layer_norm), which
/// [`tensor_core::LayerNorm`] calls in part 1's blocks and before the output layer of the model.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.mean_keepdim(D::Minus1)?; // (.., 1)
    let centered = x.broadcast_sub(&mean)?; // (.., C)
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1): divided by C, not C − 1
    let normalized = centered.broadcast_div(&(variance + eps)?.sqrt()?)?; // (.., C)
    normalized.broadcast_mul(weight)?.broadcast_add(bias) // (.., C)
}
// ANCHOR_END: layer_norm
