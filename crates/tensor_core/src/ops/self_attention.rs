//! Self-attention on packed queries, keys and values of all heads, as one linear layer produces
//! them.

use candle_core::{IndexOp, Result, Tensor, bail};

use super::attention;
use super::check::check;
use super::cpu::{SharedSlice, by_type, has_fused_loops};
use super::flash::{self, BackwardInputs};
use super::heads::{AttentionLayout, HeadLayout};
use super::mask::AttentionMask;
use super::small_batch::Dots;
use super::storage::{tensor_like, values};
use super::uninit::zeros;
use crate::graph::record_with_result;

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
    if has_fused_loops(qkv) {
        by_type!(qkv, fused(qkv, n_head, mask))
    } else {
        reference(qkv, n_head, mask)
    }
}

/// Reference implementation from plain tensor operations.
pub fn reference(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let (b, t, packed) = qkv.dims3()?;
    let split = qkv.reshape((b, t, 3, n_head, packed / 3 / n_head))?;
    let part_of = |part: usize| split.i((.., .., part)); // (B, T, H, D)
    attention::reference(&part_of(0)?, &part_of(1)?, &part_of(2)?, mask)?.reshape((
        b,
        t,
        packed / 3,
    ))
}

fn fused<T: Dots>(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let qkv = qkv.contiguous()?;
    let (b, t, packed) = qkv.dims3()?;
    let c = packed / 3;
    let part_layout = |part: usize| HeadLayout::packed(t, n_head, packed, part * c);
    let layout = AttentionLayout {
        b,
        d: c / n_head,
        queries: part_layout(0),
        keys: part_layout(1),
        values: part_layout(2),
    };
    let (output, log_sums) = {
        let qkv = values::<T>(&qkv)?;
        flash::forward([&qkv, &qkv, &qkv], &layout, mask)
    };
    let (saved, mask) = (qkv.detach(), mask.clone());
    record_with_result("self_attention", [&qkv], output, (b, t, c), move |output, grad, _| {
        let qkv = values::<T>(&saved)?;
        let mut grad_qkv = zeros(qkv.len());
        let inputs =
            BackwardInputs { output: &values(output)?, grad: &values(grad)?, log_sums: &log_sums };
        let shared = SharedSlice::new(&mut grad_qkv);
        flash::backward([&qkv, &qkv, &qkv], &inputs, [&shared; 3], &layout, &mask);
        Ok([Some(tensor_like(grad_qkv, &saved)?)])
    })
}
