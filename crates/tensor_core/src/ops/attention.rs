//! Scaled dot-product attention (Vaswani et al., <https://arxiv.org/abs/1706.03762>): softmax(q kᵀ
//! / √D + mask) v.

use candle_core::{D, Result, Tensor, bail};

use super::check::check;
use super::cpu::{SharedSlice, by_type, has_fused_loops};
use super::flash::{self, BackwardInputs};
use super::heads::{AttentionLayout, HeadLayout};
use super::mask::AttentionMask;
use super::small_batch::Dots;
use super::softmax;
use super::storage::{strided_values, tensor_like, values};
use super::uninit::zeros;
use crate::graph::{is_tracked, record_with_result};

/// Attention of `q: (B, T, H, D)` to `k, v: (B, S, KV, D)`, giving `(B, T, H, D)`. KV divides H:
/// each key head serves H / KV query heads (grouped-query attention; Ainslie et al.,
/// <https://arxiv.org/abs/2305.13245>). A query whose keys are all masked gives zeros.
///
/// # Errors
/// When the shapes or the mask do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    check_shapes("attention", q, k, Some(v), mask)?;
    if has_fused_loops(q) { by_type!(q, fused(q, k, v, mask)) } else { reference(q, k, v, mask) }
}

/// Reference implementation from plain tensor operations.
pub fn reference(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    let (_b, _t, h, _d) = q.dims4()?;
    let v = heads_first(v, h)?; // (B, H, S, D)
    attention_weights(q, k, mask)?.matmul(&v)?.transpose(1, 2)?.contiguous() // (B, T, H, D)
}

/// Attention weights (B, H, T, S): the rows sum to 1, or to 0 if all keys of a query are masked.
/// For inspection: the memory grows with T · S.
pub fn attention_weights(q: &Tensor, k: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    check_shapes("attention_weights", q, k, None, mask)?;
    let (_b, t, h, d) = q.dims4()?;
    let (_b, s, _kv, _d) = k.dims4()?;
    let (q, k) = (heads_first(q, h)?, heads_first(k, h)?); // (B, H, T, D), (B, H, S, D)
    // (B, H, T, S)
    let scores = (q.matmul(&k.transpose(D::Minus2, D::Minus1)?)? / (d as f64).sqrt())?;
    softmax::reference(&scores.broadcast_add(&mask.to_tensor(t, s, q.dtype(), q.device())?)?)
}

/// (B, S, KV, D) to (B, H, S, D), every key head repeated for each of its query heads.
fn heads_first(x: &Tensor, h: usize) -> Result<Tensor> {
    let (b, s, kv, d) = x.dims4()?;
    let x = x.transpose(1, 2)?.unsqueeze(2)?; // (B, KV, 1, S, D)
    x.broadcast_as((b, kv, h / kv, s, d))?.contiguous()?.reshape((b, h, s, d))
}

fn check_shapes(
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
    let ([_b, len, heads, d], [row_stride, stride, head, 1]) = (x.dims(), x.stride()) else {
        return None;
    };
    (head == d || *heads == 1).then_some(HeadLayout {
        len: *len,
        heads: *heads,
        row_stride: *row_stride,
        stride: *stride,
        start: 0,
    })
}

fn fused<T: Dots>(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
    let q = q.contiguous()?;
    let (b, t, h, d) = q.dims4()?;
    let queries = HeadLayout::packed(t, h, h * d, 0);
    if let (Some(keys), Some(values_layout), false) =
        (cache_layout(k), cache_layout(v), [&q, k, v].into_iter().any(is_tracked))
    {
        let layout = AttentionLayout { b, d, queries, keys, values: values_layout };
        let (k, v) = (strided_values::<T>(k)?, strided_values::<T>(v)?);
        let (output, _) = flash::forward([&values::<T>(&q)?, &k, &v], &layout, mask);
        return tensor_like(output, &q);
    }
    let (k, v) = (k.contiguous()?, v.contiguous()?);
    let (_b, s, kv, _d) = k.dims4()?;
    let keys = HeadLayout::packed(s, kv, kv * d, 0);
    let layout = AttentionLayout { b, d, queries, keys, values: keys };
    let (output, log_sums) =
        flash::forward::<T>([&values(&q)?, &values(&k)?, &values(&v)?], &layout, mask);
    let (shape, mask) = (q.dims().to_vec(), mask.clone());
    let saved = [q.detach(), k.detach(), v.detach()];
    record_with_result("attention", [&q, &k, &v], output, shape, move |output, grad, _| {
        let [q, k, v] = &saved;
        let mut grads = [q, k, v].map(|x| zeros(x.elem_count()));
        flash::backward::<T>(
            [&values(q)?, &values(k)?, &values(v)?],
            &BackwardInputs { output: &values(output)?, grad: &values(grad)?, log_sums: &log_sums },
            grads.each_mut().map(|grad| SharedSlice::new(grad)).each_ref(),
            &layout,
            &mask,
        );
        let [grad_q, grad_k, grad_v] = grads;
        Ok([
            Some(tensor_like(grad_q, q)?),
            Some(tensor_like(grad_k, k)?),
            Some(tensor_like(grad_v, v)?),
        ])
    })
}
