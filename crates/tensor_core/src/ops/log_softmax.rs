//! log_softmax(x)ᵢ = xᵢ − log Σⱼ exp(xⱼ), over the last dimension.
//!
//! With y the result: grad x = grad − exp(y) · Σ grad.

use candle_core::{D, Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::graph::record_with_result;
use crate::kernels::{Float, log_sum_exp, map_rows, sum, tensor_like, values};

/// Log-softmax of each row of `x: (.., N)`.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    check("log_softmax", &[("x", x)], x.rank() > 0)?;
    fused_or_reference!(x)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor) -> Result<Tensor> {
    in_f32(x, plain)
}

fn plain(x: &Tensor) -> Result<Tensor> {
    // Log-softmax does not change if a constant is subtracted from a row, so the maximum needs no
    // gradient.
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

fn fused<T: Float>(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let x = &x.contiguous()?;
    let y = forward::<T>(&values(x)?, n);
    record_with_result("log_softmax", [x], y, x.shape(), move |y, grad, _| {
        Ok([Some(tensor_like(backward::<T>(&values(y)?, &values(grad)?, n), y)?)])
    })
}

fn forward<T: Float>(x: &[T], n: usize) -> Vec<T> {
    map_rows!(n, [x], |y| {
        let log_sum = log_sum_exp(x);
        y.fill([x], |[x]| x - log_sum)
    })
}

fn backward<T: Float>(y: &[T], grad: &[T], n: usize) -> Vec<T> {
    map_rows!(n, [y, grad], |grad_x| {
        let total = sum([grad], |[g]| g);
        grad_x.fill([grad, y], |[g, y]| g - y.exp() * total)
    })
}
