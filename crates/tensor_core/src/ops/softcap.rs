//! Soft cap of logits (Gemma 2, <https://arxiv.org/abs/2408.00118>, 2): c · tanh(x / c) is about x
//! for small x and never leaves (−c, c), so that a few large logits cannot grow without end.
//!
//! Attention with capped logits is composed of plain operations on every device: the loops of
//! [`attention`](fn@super::attention) do not have the cap. Its memory grows with T · S.

use candle_core::{Result, Tensor};

use super::attention::{check_shapes, masked, scaled_scores, weighted_sum};
use super::dispatch::in_f32;
use super::mask::AttentionMask;
use super::softmax::softmax;

/// c · tanh(x / c) of every element of `x`, with c = `cap`.
pub fn softcap(x: &Tensor, cap: f64) -> Result<Tensor> {
    in_f32(x, |x| (x / cap)?.tanh()? * cap)
}

/// [`attention`](fn@super::attention) of `q: (B, T, H, D)` to `k, v: (B, S, KV, D)` whose logits
/// are capped before the mask: (B, T, H, D).
///
/// # Errors
/// When the shapes or the mask do not fit.
pub fn softcap_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &AttentionMask,
    cap: f64,
) -> Result<Tensor> {
    check_shapes("softcap_attention", q, k, Some(v), mask)?;
    weighted_sum(&softcap_attention_weights(q, k, mask, cap)?, v)
}

/// Attention weights (B, H, T, S) of [`softcap_attention`]; a row sums to 1, or to 0 if all keys of
/// the query are masked.
///
/// # Errors
/// When the shapes or the mask do not fit.
pub fn softcap_attention_weights(
    q: &Tensor,
    k: &Tensor,
    mask: &AttentionMask,
    cap: f64,
) -> Result<Tensor> {
    check_shapes("softcap_attention_weights", q, k, None, mask)?;
    softmax(&masked(&softcap(&scaled_scores(q, k)?, cap)?, mask)?)
}
