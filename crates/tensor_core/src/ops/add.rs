//! Addition a + b, as at the end of a residual branch. The gradient goes to both inputs unchanged.

use candle_core::{Result, Tensor};

use super::dispatch::{check, fused_or_reference};
use crate::graph::{is_tracked, record};
use crate::kernels::{Float, broadcast_add, sum_of_rows, tensor_like, values};
use crate::precision::{at_least_f32, dtype_at_least_f32};

/// Sum of `a` and `b`. The shape of `b` is that of `a` or its last dimensions, over which it is
/// broadcast.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check("add", &[("a", a), ("b", b)], a.dims().ends_with(b.dims()))?;
    fused_or_reference!(a, b)
}

/// Reference implementation from plain tensor operations.
pub fn reference(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let has_16_bits = dtype_at_least_f32(b.dtype()) != b.dtype();
    if has_16_bits && is_tracked(b) && a.dims() != b.dims() {
        // Broadcast in f32, so that the backward pass sums the rows of the gradient in f32.
        return a + at_least_f32(b)?.broadcast_as(a.shape())?.to_dtype(a.dtype())?;
    }
    a.broadcast_add(b)
}

fn fused<T: Float>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let sum = broadcast_add::<T>(&values(&a)?, &values(&b)?);
    record("add", [&a, &b], sum, a.shape(), {
        let b = b.detach();
        move |grad, [_, needs_b]| {
            let grad_b = match needs_b {
                false => None,
                true if grad.elem_count() == b.elem_count() => Some(grad.reshape(b.shape())?),
                true => Some(tensor_like(sum_of_rows::<T>(&values(grad)?, b.elem_count()), &b)?),
            };
            Ok([Some(grad.clone()), grad_b])
        }
    })
}
