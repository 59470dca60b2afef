//! Scaled dot-product attention (Vaswani et al., <https://arxiv.org/abs/1706.03762>): softmax(q kᵀ
//! / √D + mask) v.

use candle_core::{D, Result, Tensor, bail};

use super::dispatch::{check, fused_or_reference};
use super::mask::AttentionMask;
use super::softmax;
use crate::graph::{is_tracked, record_with_result};
use crate::kernels::attention::{self, Grads, HeadLayout, Heads, Inputs, Saved};
use crate::kernels::small_batch::Dots;
use crate::kernels::{SharedSlice, has_fused_loops, strided_values, tensor_like, values, zeros};

/// Attention of `q: (B, T, H, D)` to `k, v: (B, S, KV, D)`, giving `(B, T, H, D)`. KV divides H:
/// each key head serves H / KV query heads (grouped-query attention; Ainslie et al.,
/// <https://arxiv.org/abs/2305.13245>). A query whose keys are all masked gives zeros.
///
/// # Errors
/// When the shapes or the mask do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    check_shapes("attention", q, k, Some(v), mask)?;
    fused_or_reference!(q, k, v, mask)
}

/// Reference implementation from plain tensor operations.
pub fn reference(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    weighted_sum(&attention_weights(q, k, mask)?, v)
}

/// Attention weights (B, H, T, S): the rows sum to 1, or to 0 if all keys of a query are masked.
/// For inspection: the memory grows with T · S.
pub fn attention_weights(q: &Tensor, k: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    check_shapes("attention_weights", q, k, None, mask)?;
    softmax::reference(&masked(&scaled_scores(q, k)?, mask)?)
}

/// q kᵀ / √D: (B, H, T, S). The H / KV query heads that share a key head are multiplied with it as
/// rows of one matrix, so that no key is repeated.
pub(super) fn scaled_scores(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let ((b, t, h, d), (_b, s, kv, _d)) = (q.dims4()?, k.dims4()?);
    let q = q.transpose(1, 2)?.reshape((b, kv, h / kv * t, d))?; // (B, KV, H / KV · T, D)
    let k = heads_first(k)?.transpose(D::Minus2, D::Minus1)?; // (B, KV, D, S)
    q.matmul(&k)?.reshape((b, h, t, s))? / (d as f64).sqrt()
}

/// `scores: (B, H, T, S)` with −∞ where `mask` hides the key.
fn masked(scores: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    let (_b, _h, t, s) = scores.dims4()?;
    scores.broadcast_add(&mask.to_tensor(t, s, scores.dtype(), scores.device())?)
}

/// Sums of `v: (B, S, KV, D)` with `weights: (B, H, T, S)`: (B, T, H, D). No value is repeated.
pub(super) fn weighted_sum(weights: &Tensor, v: &Tensor) -> Result<Tensor> {
    let ((b, h, t, s), (_b, _s, kv, d)) = (weights.dims4()?, v.dims4()?);
    let weights = weights.reshape((b, kv, h / kv * t, s))?; // (B, KV, H / KV · T, S)
    let sums = weights.matmul(&heads_first(v)?)?; // (B, KV, H / KV · T, D)
    sums.reshape((b, h, t, d))?.transpose(1, 2)?.contiguous() // (B, T, H, D)
}

/// (B, S, KV, D) to (B, KV, S, D), as a factor of a product: a view where candle can multiply one,
/// which is on the CPU and with one row or one key head, else a copy.
fn heads_first(x: &Tensor) -> Result<Tensor> {
    let (b, _s, kv, _d) = x.dims4()?;
    let heads = x.transpose(1, 2)?; // (B, KV, S, D)
    if has_fused_loops(x) && (b == 1 || kv == 1) { Ok(heads) } else { heads.contiguous() }
}

pub(super) fn check_shapes(
    op: &str,
    q: &Tensor,
    k: &Tensor,
    v: Option<&Tensor>,
    mask: &AttentionMask,
) -> Result<()> {
    let v = v.unwrap_or(k);
    let rank = q.rank() == 4 && k.rank() == 4;
    check(op, &[("q", q), ("k", k), ("v", v)], rank && k.dims() == v.dims())?;
    let ((b, t, h, d), (key_b, s, kv, key_d)) = (q.dims4()?, k.dims4()?);
    check(op, &[("q", q), ("k", k), ("v", v)], b == key_b && d == key_d)?;
    if h % kv != 0 {
        bail!("{op}: {h} query heads cannot share {kv} key heads: {:?}, {:?}", q.dims(), k.dims());
    }
    mask.check(op, Some(b), t, s)
}

/// Memory layout of the keys or values of a cache, `(B, S, KV, D)`; `None` if a token's heads are
/// not contiguous.
fn cache_layout(x: &Tensor) -> Option<HeadLayout> {
    let (&[_b, len, heads, d], &[row_stride, stride, head, 1]) = (x.dims(), x.stride()) else {
        return None;
    };
    (head == d || heads == 1).then_some(HeadLayout { len, heads, d, row_stride, stride, start: 0 })
}

fn fused<T: Dots>(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    let ((b, t, h, d), (_b, s, kv, _d)) = (q.dims4()?, k.dims4()?);
    let queries = HeadLayout::contiguous(t, h, d);
    let q = q.contiguous()?;
    if let (Some(keys), Some(in_cache), false) =
        (cache_layout(k), cache_layout(v), [&q, k, v].into_iter().any(is_tracked))
    {
        let (q_values, k, v) = (values::<T>(&q)?, strided_values(k)?, strided_values(v)?);
        let (output, _) = attention::forward(&Inputs {
            b,
            queries: Heads { elements: &q_values, layout: queries },
            keys: Heads { elements: &k, layout: keys },
            values: Heads { elements: &v, layout: in_cache },
            mask: mask.view(s),
        });
        return tensor_like(output, &q);
    }
    let keys = HeadLayout::contiguous(s, kv, d); // of the values, too
    let (k, v) = (k.contiguous()?, v.contiguous()?);
    let (output, log_sums) = {
        let (q, k, v) = (values(&q)?, values(&k)?, values(&v)?);
        attention::forward::<T>(&inputs(&q, &k, &v, queries, keys, mask))
    };
    let (saved, mask) = ([q.detach(), k.detach(), v.detach()], mask.clone());
    record_with_result("attention", [&q, &k, &v], output, (b, t, h, d), move |output, grad, _| {
        let [q, k, v] = &saved;
        let [mut grad_q, mut grad_k, mut grad_v] = [q, k, v].map(|x| zeros::<T>(x.elem_count()));
        attention::backward(
            &inputs(&values(q)?, &values(k)?, &values(v)?, queries, keys, &mask),
            &Saved { output: &values(output)?, grad: &values(grad)?, log_sums: &log_sums },
            Grads {
                queries: &SharedSlice::new(&mut grad_q),
                keys: &SharedSlice::new(&mut grad_k),
                values: &SharedSlice::new(&mut grad_v),
            },
        );
        let grads = [tensor_like(grad_q, q)?, tensor_like(grad_k, k)?, tensor_like(grad_v, v)?];
        Ok(grads.map(Some))
    })
}

/// Inputs of the loops if keys and values have the same layout.
fn inputs<'a, T>(
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    queries: HeadLayout,
    keys: HeadLayout,
    mask: &'a AttentionMask,
) -> Inputs<'a, T> {
    Inputs {
        b: q.len() / queries.row_stride,
        queries: Heads { elements: q, layout: queries },
        keys: Heads { elements: k, layout: keys },
        values: Heads { elements: v, layout: keys },
        mask: mask.view(keys.len),
    }
}
