//! 2.3 Softmax: turns logits into probabilities, which are positive and sum to 1. Adding a constant
//! to all logits changes nothing, so only their differences matter.
//!
//! ```text
//! softmax(x)ᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) = exp(xᵢ − m) / Σⱼ exp(xⱼ − m)        m = max x
//! ```
//!
//! The second form is the one to compute. In f32, exp(x) is ∞ from x = 89 on, and ∞ / ∞ is NaN;
//! after the maximum is subtracted, every exp is at most 1 and their sum at least 1. (Bridle,
//! <https://mlanthology.org/neurips/1989/bridle1989neurips-training>.)

use candle_core::{D, Result, Tensor};

// ANCHOR: softmax
/// Softmax of each row of `logits: (.., V)`, giving `(.., V)`. Reference for the fused
/// [`ops::softmax`](fn@tensor_core::ops::softmax), which weights the values in part 1's attention.
pub fn softmax(logits: &Tensor) -> Result<Tensor> {
    let max = logits.detach().max_keepdim(D::Minus1)?; // (.., 1); it cancels: no gradient
    let exp = logits.broadcast_sub(&max)?.exp()?; // (.., V)
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?) // (.., V) / (.., 1) -> (.., V)
}
// ANCHOR_END: softmax
