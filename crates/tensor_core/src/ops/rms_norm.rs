//! y = x / √(mean(x²) + ε) · weight, over the last dimension (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>).
//!
//! With n = x / √(mean(x²) + ε) and g = grad · weight: grad x = (g − n · mean(g · n)) / √(mean(x²) + ε).

use candle_core::{D, Result, Tensor};

use super::check::check;
use super::cpu::{build, by_type, has_fused_loops, sum, vectorized, whole_rows};
use super::linear::sum_of_rows;
use super::real::Real;
use super::storage::{tensor_like, values};
use crate::graph::record;

/// Divides each row of `x: (.., C)` by its root mean square, then scales by `weight: (C)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().map_or(&[][..], std::slice::from_ref);
    let fit = weight.dims() == width && x.rank() > 0;
    check("rms_norm", &[("x", x), ("weight", weight)], fit)?;
    if has_fused_loops(x) { by_type!(x, fused(x, weight, eps)) } else { reference(x, weight, eps) }
}

/// The same from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
}

fn fused<T: Real>(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let y = forward::<T>(&values(&x)?, &values(&weight)?, eps);
    record("rms_norm", [&x, &weight], y, x.shape(), {
        let (x, weight) = (x.detach(), weight.detach());
        move |grad, _| {
            let (grad_x, grad_weight) =
                backward::<T>(&values(&x)?, &values(&weight)?, &values(grad)?, eps);
            Ok([Some(tensor_like(grad_x, &x)?), Some(tensor_like(grad_weight, &weight)?)])
        }
    })
}

/// 1/√(mean(x²) + ε) of a row.
#[inline(always)]
fn scale<T: Real>(x: &[T], eps: f64) -> T {
    let mean_square = sum(x.len(), |i| x[i] * x[i]) / T::real(x.len() as f64);
    T::ONE / (mean_square + T::real(eps)).sqrt()
}

fn forward<T: Real>(x: &[T], weight: &[T], eps: f64) -> Vec<T> {
    let c = weight.len();
    let part = whole_rows(c);
    let [y] = build([(x.len(), part)], |i, [y]| {
        vectorized(|| {
            for (y, x) in y.chunks_exact_mut(c).zip(x[i * part..].chunks_exact(c)) {
                let scale = scale(x, eps);
                (0..c).for_each(|i| y[i] = x[i] * scale * weight[i]);
            }
        });
    });
    y
}

/// The gradients of x and weight. Each task sums the second over its rows.
fn backward<T: Real>(x: &[T], weight: &[T], grad: &[T], eps: f64) -> (Vec<T>, Vec<T>) {
    let c = weight.len();
    let part = whole_rows(c);
    let sums = x.len().div_ceil(part) * c;
    let [grad_x, sums] = build([(x.len(), part), (sums, c)], |i, [grad_x, of_weight]| {
        vectorized(|| {
            let rows = x[i * part..].chunks_exact(c).zip(grad[i * part..].chunks_exact(c));
            for (out, (x, grad)) in grad_x.chunks_exact_mut(c).zip(rows) {
                let scale = scale(x, eps);
                let mean = sum(c, |i| grad[i] * weight[i] * x[i]) * scale / T::real(c as f64);
                for i in 0..c {
                    let normal = x[i] * scale;
                    out[i] = (grad[i] * weight[i] - normal * mean) * scale;
                    of_weight[i] += grad[i] * normal;
                }
            }
        });
    });
    (grad_x, sum_of_rows(&sums, c))
}
