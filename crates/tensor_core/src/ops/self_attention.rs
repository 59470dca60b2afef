//! Attention with queries, keys and values of all heads side by side, as one linear layer makes them.

use candle_core::{IndexOp, Result, Tensor, bail};

use super::attention;
use super::check::check;
use super::cpu::{Shared, by_type, has_fused_loops};
use super::flash::{self, Outcome};
use super::heads::{Heads, Side};
use super::mask::AttentionMask;
use super::small_batch::Dots;
use super::storage::{tensor_like, values};
use super::uninit::zeros;
use crate::graph::record_with_result;

/// Attention of `qkv: (B, T, 3C)`, packed as Q|K|V and by head within each, giving `(B, T, C)`. Nothing is copied apart.
///
/// # Errors
/// When the last dimension is not three times a multiple of `n_head`, or the mask does not fit.
pub fn self_attention(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let (b, t, packed) = qkv.dims3()?;
    check("self_attention", &[("qkv", qkv)], true)?;
    if n_head == 0 || packed % 3 != 0 || packed / 3 % n_head != 0 {
        let dims = qkv.dims();
        bail!("self_attention: {dims:?} holds no queries, keys and values of {n_head} heads");
    }
    mask.check("self_attention", Some(b), t, t)?;
    if has_fused_loops(qkv) {
        by_type!(qkv, fused(qkv, n_head, mask))
    } else {
        reference(qkv, n_head, mask)
    }
}

/// The same from plain tensor operations.
pub fn reference(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let (b, t, packed) = qkv.dims3()?;
    let split = qkv.reshape((b, t, 3, n_head, packed / 3 / n_head))?;
    let take = |part: usize| split.i((.., .., part)); // (B, T, H, D)
    attention::reference(&take(0)?, &take(1)?, &take(2)?, mask)?.reshape((b, t, packed / 3))
}

fn fused<T: Dots>(qkv: &Tensor, n_head: usize, mask: &AttentionMask) -> Result<Tensor> {
    let qkv = qkv.contiguous()?;
    let (b, t, packed) = qkv.dims3()?;
    let c = packed / 3;
    let side = |part: usize| Side::packed(t, n_head, packed, part * c);
    let heads = Heads { b, d: c / n_head, queries: side(0), keys: side(1), values: side(2) };
    let (output, log_sums) = {
        let qkv = values::<T>(&qkv)?;
        flash::forward([&qkv, &qkv, &qkv], &heads, mask)
    };
    let (kept, mask) = (qkv.detach(), mask.clone());
    record_with_result("self_attention", [&qkv], output, (b, t, c), move |output, grad, _| {
        let qkv = values::<T>(&kept)?;
        let mut grad_qkv = zeros(qkv.len());
        let outcome =
            Outcome { output: &values(output)?, grad: &values(grad)?, log_sums: &log_sums };
        let shared = Shared::new(&mut grad_qkv);
        flash::backward([&qkv, &qkv, &qkv], &outcome, [&shared; 3], &heads, &mask);
        Ok([Some(tensor_like(grad_qkv, &kept)?)])
    })
}
