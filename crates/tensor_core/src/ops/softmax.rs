//! softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x), over the last dimension.
//!
//! With y the result: grad x = y · (grad − Σ grad · y).

use candle_core::{D, Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::graph::record_with_result;
use crate::kernels::{Float, map_rows, softmax_row, sum, tensor_like, values};

/// Softmax of each row of `x: (.., N)`. A row that is −∞ everywhere gives zeros, not NaN.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    check("softmax", &[("x", x)], x.rank() > 0)?;
    fused_or_reference!(x)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor) -> Result<Tensor> {
    in_f32(x, plain)
}

fn plain(x: &Tensor) -> Result<Tensor> {
    // Softmax does not change if a constant is subtracted from a row, so the maximum needs no
    // gradient.
    let max = x.detach().max_keepdim(D::Minus1)?; // (.., 1)
    let max = max.maximum(f64::from(f32::MIN))?; // (−∞) − (−∞) would be NaN
    let exp = x.broadcast_sub(&max)?.exp()?;
    let sum = exp.sum_keepdim(D::Minus1)?; // (.., 1)
    let sum = sum.maximum(0.5)?; // the maximum alone adds 1, so this only replaces a sum of 0
    exp.broadcast_div(&sum)
}

fn fused<T: Float>(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let x = &x.contiguous()?;
    let y = forward::<T>(&values(x)?, n);
    record_with_result("softmax", [x], y, x.shape(), move |y, grad, _| {
        Ok([Some(tensor_like(backward::<T>(&values(y)?, &values(grad)?, n), y)?)])
    })
}

fn forward<T: Float>(x: &[T], n: usize) -> Vec<T> {
    map_rows!(n, [x], |y| {
        let mut y = y.copy_of(x);
        softmax_row(&mut y);
        y
    })
}

fn backward<T: Float>(y: &[T], grad: &[T], n: usize) -> Vec<T> {
    map_rows!(n, [y, grad], |grad_x| {
        let mean = sum([grad, y], |[g, y]| g * y);
        grad_x.fill([y, grad], |[y, g]| y * (g - mean))
    })
}
