//! y = (x − mean) / √(variance + ε) · weight + bias, over the last dimension
//! (Ba et al., <https://arxiv.org/abs/1607.06450>).
//!
//! With n the normalised row and g = grad · weight: grad x = (g − mean(g) − n · mean(g · n)) / √(variance + ε).

use candle_core::{D, Result, Tensor};

use super::check::check;
use super::cpu::{build, by_type, has_fused_loops, sum, vectorized, whole_rows};
use super::linear::sum_of_rows;
use super::real::Real;
use super::storage::{tensor_like, values};
use crate::graph::record;

/// Normalises each row of `x: (.., C)`, then scales by `weight: (C)` and shifts by `bias: (C)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().map_or(&[][..], std::slice::from_ref);
    let fit = weight.dims() == width && bias.dims() == width && x.rank() > 0;
    check("layer_norm", &[("x", x), ("weight", weight), ("bias", bias)], fit)?;
    if has_fused_loops(x) {
        by_type!(x, fused(x, weight, bias, eps))
    } else {
        reference(x, weight, bias, eps)
    }
}

/// The same from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal.broadcast_mul(weight)?.broadcast_add(bias)
}

fn fused<T: Real>(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let y = forward::<T>(&values(&x)?, &values(&weight)?, &values(&bias)?, eps);
    record("layer_norm", [&x, &weight, &bias], y, x.shape(), {
        let (x, weight) = (x.detach(), weight.detach());
        move |grad, _| {
            let (grad_x, grad_weight, grad_bias) =
                backward::<T>(&values(&x)?, &values(&weight)?, &values(grad)?, eps);
            let grad_x = Some(tensor_like(grad_x, &x)?);
            let [grad_weight, grad_bias] =
                [grad_weight, grad_bias].map(|grad| tensor_like(grad, &weight));
            Ok([grad_x, Some(grad_weight?), Some(grad_bias?)])
        }
    })
}

/// Mean and 1/√(variance + ε) of a row.
#[inline(always)]
fn moments<T: Real>(x: &[T], eps: f64) -> (T, T) {
    let n = T::real(x.len() as f64);
    let mean = sum(x.len(), |i| x[i]) / n;
    let variance = sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, T::ONE / (variance + T::real(eps)).sqrt())
}

fn forward<T: Real>(x: &[T], weight: &[T], bias: &[T], eps: f64) -> Vec<T> {
    let c = weight.len();
    let part = whole_rows(c);
    let [y] = build([(x.len(), part)], |i, [y]| {
        vectorized(|| {
            for (y, x) in y.chunks_exact_mut(c).zip(x[i * part..].chunks_exact(c)) {
                let (mean, scale) = moments(x, eps);
                (0..c).for_each(|i| y[i] = (x[i] - mean) * scale * weight[i] + bias[i]);
            }
        });
    });
    y
}

/// The gradients of x, weight and bias. Each task sums the last two over its rows.
fn backward<T: Real>(x: &[T], weight: &[T], grad: &[T], eps: f64) -> (Vec<T>, Vec<T>, Vec<T>) {
    let c = weight.len();
    let n = T::real(c as f64);
    let part = whole_rows(c);
    let sums = x.len().div_ceil(part) * 2 * c;
    let [grad_x, sums] = build([(x.len(), part), (sums, 2 * c)], |i, [grad_x, sums]| {
        let (of_weight, of_bias) = sums.split_at_mut(c);
        vectorized(|| {
            let rows = x[i * part..].chunks_exact(c).zip(grad[i * part..].chunks_exact(c));
            for (out, (x, grad)) in grad_x.chunks_exact_mut(c).zip(rows) {
                let (mean, scale) = moments(x, eps);
                let mean_g = sum(c, |i| grad[i] * weight[i]) / n;
                let mean_gn = sum(c, |i| grad[i] * weight[i] * (x[i] - mean) * scale) / n;
                for i in 0..c {
                    let normal = (x[i] - mean) * scale;
                    out[i] = (grad[i] * weight[i] - mean_g - normal * mean_gn) * scale;
                    of_weight[i] += grad[i] * normal;
                    of_bias[i] += grad[i];
                }
            }
        });
    });
    let mut total = sum_of_rows(&sums, 2 * c);
    let grad_bias = total.split_off(c);
    (grad_x, total, grad_bias)
}
