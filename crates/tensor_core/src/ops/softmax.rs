//! softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x), over the last dimension.
//!
//! With y the result: grad x = y · (grad − Σ grad · y).

use candle_core::{D, Result, Tensor};

use super::check::check;
use super::cpu::{by_type, has_fused_loops, vectorized, whole_rows};
use super::float::Float;
use super::half::in_f32;
use super::storage::{tensor_like, values};
use super::sums::{max, sum};
use super::uninit::build;
use crate::graph::record_with_result;

/// Softmax of each row of `x: (.., N)`. A row that is −∞ everywhere gives zeros, not NaN.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    check("softmax", &[("x", x)], x.rank() > 0)?;
    if has_fused_loops(x) { by_type!(x, fused(x)) } else { reference(x) }
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
    let part = whole_rows(n);
    let [y] = build([(x.len(), part)], |i, [y]| {
        let x = &x[i * part..];
        [vectorized!({
            y.fill_rows(n, |row, y| {
                let mut y = y.copy_of(&x[row * n..]);
                softmax_row(&mut y);
                y
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
                let mean = sum([grad, y], |[g, y]| g * y);
                out.fill([y, grad], |[y, g]| y * (g - mean))
            })
        })]
    });
    grad_x
}

/// Softmax of one row in place; zeros if everything is −∞.
#[inline(always)]
pub(crate) fn softmax_row<T: Float>(row: &mut [T]) {
    log_softmax_sum(row);
}

/// [`softmax_row`] that returns the logarithm of the denominator (log-sum-exp); −∞ for a row that
/// is −∞ everywhere.
#[inline(always)]
pub(crate) fn log_softmax_sum<T: Float>(row: &mut [T]) -> T {
    let max = max(row);
    if max == T::cast(f64::NEG_INFINITY) {
        // The row is −∞ or NaN everywhere; NaN must not turn into 0.
        let nan = row.iter().find(|x| x.to_f64().is_nan()).copied();
        row.fill(nan.unwrap_or(T::ZERO));
        return nan.unwrap_or(max);
    }
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let total = sum([row], |[x]| x);
    let scale = T::ONE / total;
    row.iter_mut().for_each(|x| *x *= scale);
    max + total.ln()
}
