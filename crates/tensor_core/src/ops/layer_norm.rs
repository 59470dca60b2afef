//! y = (x − mean) / √(variance + ε) · weight + bias, over the last dimension (Ba et al.,
//! <https://arxiv.org/abs/1607.06450>).
//!
//! With n the normalized row and g = grad · weight: grad x = (g − mean(g) − n · mean(g · n)) /
//! √(variance + ε).

use candle_core::{D, Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::at_least_f32;
use crate::graph::record;
use crate::kernels::{Float, build, sum, sum_of_rows, tensor_like, values, vectorized, whole_rows};

/// Normalizes each row of `x: (.., C)`, then scales by `weight: (C)` and shifts by `bias: (C)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().map_or(&[][..], std::slice::from_ref);
    let fit = weight.dims() == width && bias.dims() == width && x.rank() > 0;
    check("layer_norm", &[("x", x), ("weight", weight), ("bias", bias)], fit)?;
    fused_or_reference!(x, weight, bias, eps)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (weight, bias) = (at_least_f32(weight)?, at_least_f32(bias)?);
    in_f32(x, |x| {
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centered.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
        let normalized = centered.broadcast_div(&(variance + eps)?.sqrt()?)?;
        normalized.broadcast_mul(&weight)?.broadcast_add(&bias)
    })
}

fn fused<T: Float>(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let (y, moments) = forward::<T>(&values(&x)?, &values(&weight)?, &values(&bias)?, eps);
    record("layer_norm", [&x, &weight, &bias], y, x.shape(), {
        let (x, weight) = (x.detach(), weight.detach());
        move |grad, _| {
            let (grad_x, grad_weight, grad_bias) =
                backward::<T>(&values(&x)?, &moments, &values(&weight)?, &values(grad)?);
            let grad_x = Some(tensor_like(grad_x, &x)?);
            let [grad_weight, grad_bias] =
                [grad_weight, grad_bias].map(|grad| tensor_like(grad, &weight));
            Ok([grad_x, Some(grad_weight?), Some(grad_bias?)])
        }
    })
}

/// Result, and the mean and 1/√(variance + ε) of each row.
fn forward<T: Float>(x: &[T], weight: &[T], bias: &[T], eps: f64) -> (Vec<T>, Vec<T>) {
    let c = weight.len();
    let (n, part) = (T::cast(c as f64), whole_rows(c));
    let sizes = [(x.len(), part), (x.len() / c * 2, part / c * 2)];
    let [y, moments] = build(sizes, |i, [y, moments]| {
        let x = &x[i * part..];
        let mut moments = moments.zeroed();
        let y = vectorized!({
            y.fill_rows(c, |row, y| {
                let x = &x[row * c..][..c];
                let mean = sum([x], |[x]| x) / n;
                let variance = sum([x], |[x]| (x - mean) * (x - mean)) / n;
                let scale = T::ONE / (variance + T::cast(eps)).sqrt();
                moments[row * 2..][..2].copy_from_slice(&[mean, scale]);
                y.fill([x, weight, bias], |[x, w, b]| (x - mean) * scale * w + b)
            })
        });
        [y, moments]
    });
    (y, moments)
}

/// Gradients of x, weight and bias. Each task sums the last two over its rows.
fn backward<T: Float>(
    x: &[T],
    moments: &[T],
    weight: &[T],
    grad: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let c = weight.len();
    let (n, part) = (T::cast(c as f64), whole_rows(c));
    let sums = x.len().div_ceil(part) * 2 * c;
    let [grad_x, sums] = build([(x.len(), part), (sums, 2 * c)], |i, [grad_x, sums]| {
        let (x, grad, moments) = (&x[i * part..], &grad[i * part..], &moments[i * part / c * 2..]);
        let mut sums = sums.zeroed();
        let (grad_weight, grad_bias) = sums.split_at_mut(c);
        let grad_x = vectorized!({
            grad_x.fill_rows(c, |row, out| {
                let (x, grad) = (&x[row * c..][..c], &grad[row * c..][..c]);
                let (mean, scale) = (moments[row * 2], moments[row * 2 + 1]);
                let mean_g = sum([grad, weight], |[g, w]| g * w) / n;
                let mean_gn = sum([grad, weight, x], |[g, w, x]| g * w * (x - mean)) * scale / n;
                let sums = grad_weight.iter_mut().zip(&mut *grad_bias);
                for ((grad_weight, grad_bias), (&g, &x)) in sums.zip(grad.iter().zip(x)) {
                    *grad_weight += g * (x - mean) * scale;
                    *grad_bias += g;
                }
                out.fill([grad, weight, x], |[g, w, x]| {
                    (g * w - mean_g - (x - mean) * scale * mean_gn) * scale
                })
            })
        });
        [grad_x, sums]
    });
    let mut total = sum_of_rows(&sums, 2 * c);
    let grad_bias = total.split_off(c);
    (grad_x, total, grad_bias)
}
