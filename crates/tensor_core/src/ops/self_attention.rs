//! Self-attention on packed queries, keys and values of all heads, as one linear layer produces
//! them.

use candle_core::{IndexOp, Result, Tensor, bail};

use super::attention;
use super::dispatch::{check, fused_or_reference};
use super::mask::AttentionMask;
use crate::graph::record_with_result;
use crate::kernels::attention::{Grads, HeadLayout, Heads, Inputs, Saved, backward, forward};
use crate::kernels::small_batch::Dots;
use crate::kernels::{SharedSlice, tensor_like, values, zeros};

/// Attention of `qkv: (B, T, 3C)`, packed as Q|K|V and by head within each, giving `(B, T, C)`.
/// Reads Q, K and V in place.
///
/// # Errors
/// When the last dimension is not three times a multiple of `n_head`, or the mask does not fit.
pub fn self_attention(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let (b, t, packed) = qkv.dims3()?;
    check("self_attention", &[("qkv", qkv)], true)?;
    if n_head == 0 || packed % 3 != 0 || packed / 3 % n_head != 0 {
        let dims = qkv.dims();
        bail!("self_attention: {dims:?} is not (B, T, 3 C) with C divisible by {n_head} heads");
    }
    mask.check("self_attention", Some(b), t, t)?;
    fused_or_reference!(qkv, n_head, mask)
}

/// Reference implementation from plain tensor operations.
pub fn reference(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let (b, t, packed) = qkv.dims3()?;
    let split = qkv.reshape((b, t, 3, n_head, packed / 3 / n_head))?;
    let part_of = |part: usize| split.i((.., .., part)); // (B, T, H, D)
    let y = attention::reference(&part_of(0)?, &part_of(1)?, &part_of(2)?, mask)?; // (B, T, H, D)
    y.reshape((b, t, packed / 3))
}

fn fused<T: Dots>(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let qkv = qkv.contiguous()?;
    let (b, t, packed) = qkv.dims3()?;
    let (output, log_sums) = forward::<T>(&inputs(&values(&qkv)?, b, t, n_head, mask));
    let (saved, mask) = (qkv.detach(), mask.clone());
    let shape = (b, t, packed / 3);
    record_with_result("self_attention", [&qkv], output, shape, move |output, grad, _| {
        let qkv = values::<T>(&saved)?;
        let mut grad_qkv = zeros(qkv.len());
        let shared = &SharedSlice::new(&mut grad_qkv);
        backward(
            &inputs(&qkv, b, t, n_head, &mask),
            &Saved { output: &values(output)?, grad: &values(grad)?, log_sums: &log_sums },
            Grads { queries: shared, keys: shared, values: shared },
        );
        Ok([Some(tensor_like(grad_qkv, &saved)?)])
    })
}

/// Queries, keys and values within `qkv: (B, T, 3 H D)`.
fn inputs<'a, T>(
    qkv: &'a [T],
    b: usize,
    t: usize,
    n_head: usize,
    mask: &'a AttentionMask,
) -> Inputs<'a, T> {
    let packed = qkv.len() / (b * t);
    let c = packed / 3;
    let [queries, keys, values] = [0, c, 2 * c].map(|start| Heads {
        elements: qkv,
        layout: HeadLayout {
            len: t,
            heads: n_head,
            d: c / n_head,
            row_stride: t * packed,
            stride: packed,
            start,
        },
    });
    Inputs { b, queries, keys, values, mask: mask.view(t) }
}
