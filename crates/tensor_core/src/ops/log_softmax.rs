//! log_softmax(x)ᵢ = xᵢ − log Σⱼ exp(xⱼ), over the last dimension.
//!
//! With y the result: grad x = grad − exp(y) · Σ grad.

use candle_core::{D, Result, Tensor};

use super::check::check;
use super::cpu::{by_type, has_fused_loops, vectorized, whole_rows};
use super::float::Float;
use super::half::in_f32;
use super::storage::{tensor_like, values};
use super::sums::{max, sum};
use super::uninit::build;
use crate::graph::record_with_result;

/// Log-softmax of each row of `x: (.., N)`.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    check("log_softmax", &[("x", x)], x.rank() > 0)?;
    if has_fused_loops(x) { by_type!(x, fused(x)) } else { reference(x) }
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

/// Log-sum-exp of a row: log Σ exp(x).
#[inline(always)]
pub(crate) fn log_sum_exp<T: Float>(x: &[T]) -> T {
    let max = max(x);
    max + sum([x], |[x]| (x - max).exp()).ln()
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
    let part = whole_rows(n);
    let [y] = build([(x.len(), part)], |i, [y]| {
        let x = &x[i * part..];
        [vectorized!({
            y.fill_rows(n, |row, y| {
                let x = &x[row * n..][..n];
                let log_sum = log_sum_exp(x);
                y.fill([x], |[x]| x - log_sum)
            })
        })]
    });
    y
}

fn backward<T: Float>(y: &[T], grad: &[T], n: usize) -> Vec<T> {
    let part = whole_rows(n);
    let [grad_x] = build([(y.len(), part)], |i, [grad_x]| {
        let (y, grad) = (&y[i * part..], &grad[i * part..]);
        [vectorized!({
            grad_x.fill_rows(n, |row, out| {
                let (y, grad) = (&y[row * n..][..n], &grad[row * n..][..n]);
                let total = sum([grad], |[g]| g);
                out.fill([grad, y], |[g, y]| g - y.exp() * total)
            })
        })]
    });
    grad_x
}
