//! Soft cap of logits (Gemma 2, <https://arxiv.org/abs/2408.00118>, 2): c · tanh(x / c) is about x
//! for small x and never leaves (−c, c), so that a few large logits cannot grow without end.
//!
//! Attention with capped logits is composed of plain operations on every device: the loops of
//! [`attention`](fn@super::attention) do not have the cap. Its memory grows with T · S.

use candle_core::{Result, Tensor};

use super::attention::{check_shapes, scaled_scores, weighted_sum};
use super::dispatch::in_f32;
use super::mask::AttentionMask;
use super::softmax::softmax;
use crate::graph::is_tracked;
use crate::kernels::has_fused_loops;

/// c · tanh(x / c) of every element of `x`, with c = `cap`.
pub fn softcap(x: &Tensor, cap: f64) -> Result<Tensor> {
    in_f32(x, |x| (x / cap)?.tanh()? * cap)
}

/// [`attention`](fn@super::attention) of `q: (B, T, H, D)` to `k, v: (B, S, KV, D)` whose logits
/// are capped before the mask: (B, T, H, D). Keys and values are not repeated for the query heads
/// that share them; on the CPU, without a gradient, they are read where they lie, as in a cache.
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
    let ((b, t, _h, _d), (_b, s, _kv, _)) = (q.dims4()?, k.dims4()?);
    let mask = mask.to_tensor(t, s, q.dtype(), q.device())?; // (B or 1, 1, T, S)
    if b == 1 || !has_fused_loops(q) || [q, k, v].into_iter().any(is_tracked) {
        return weighted_sum(&capped_weights(q, k, &mask, cap)?, v);
    }
    // Row by row: candle multiplies the heads of one row in place, but not those of several.
    let n_mask_rows = mask.dim(0)?;
    let rows = (0..b).map(|row| {
        let mask = mask.narrow(0, row % n_mask_rows, 1)?; // (1, 1, T, S)
        let [q, k, v] = [q, k, v].map(|x| x.narrow(0, row, 1));
        weighted_sum(&capped_weights(&q?, &k?, &mask, cap)?, &v?) // (1, T, H, D)
    });
    Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0) // (B, T, H, D)
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
    let ((_b, t, _h, _d), (_, s, _kv, _)) = (q.dims4()?, k.dims4()?);
    capped_weights(q, k, &mask.to_tensor(t, s, q.dtype(), q.device())?, cap)
}

/// softmax(cap(q kᵀ / √D) + mask) with `mask: (B or 1, 1, T, S)`: (B, H, T, S).
fn capped_weights(q: &Tensor, k: &Tensor, mask: &Tensor, cap: f64) -> Result<Tensor> {
    softmax(&softcap(&scaled_scores(q, k)?, cap)?.broadcast_add(mask)?)
}
