//! y = x / √(mean(x²) + ε) · weight, over the last dimension (Zhang and Sennrich,
//! <https://arxiv.org/abs/1910.07467>).
//!
//! With n = x / √(mean(x²) + ε) and g = grad · weight: grad x = (g − n · mean(g · n)) / √(mean(x²)
//! + ε).

use candle_core::{D, Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::at_least_f32;
use crate::graph::record;
use crate::kernels::{Float, build, sum, sum_of_rows, tensor_like, values, vectorized, whole_rows};

/// Divides each row of `x: (.., C)` by its root mean square, then scales by `weight: (C)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().map_or(&[][..], std::slice::from_ref);
    let fit = weight.dims() == width && x.rank() > 0;
    check("rms_norm", &[("x", x), ("weight", weight)], fit)?;
    fused_or_reference!(x, weight, eps)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let weight = at_least_f32(weight)?;
    in_f32(x, |x| {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
        x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(&weight)
    })
}

fn fused<T: Float>(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (y, scales) = forward::<T>(&values(&x)?, &values(&weight)?, eps);
    record("rms_norm", [&x, &weight], y, x.shape(), {
        let (x, weight) = (x.detach(), weight.detach());
        move |grad, _| {
            let (grad_x, grad_weight) =
                backward::<T>(&values(&x)?, &scales, &values(&weight)?, &values(grad)?);
            Ok([Some(tensor_like(grad_x, &x)?), Some(tensor_like(grad_weight, &weight)?)])
        }
    })
}

/// Result, and 1/√(mean(x²) + ε) of each row.
fn forward<T: Float>(x: &[T], weight: &[T], eps: f64) -> (Vec<T>, Vec<T>) {
    let c = weight.len();
    let part = whole_rows(c);
    let sizes = [(x.len(), part), (x.len() / c, part / c)];
    let [y, scales] = build(sizes, |i, [y, scales]| {
        let x = &x[i * part..];
        let mut scales = scales.zeroed();
        let y = vectorized!({
            y.fill_rows(c, |row, y| {
                let x = &x[row * c..][..c];
                let mean_square = sum([x], |[x]| x * x) / T::cast(c as f64);
                let scale = T::ONE / (mean_square + T::cast(eps)).sqrt();
                scales[row] = scale;
                y.fill([x, weight], |[x, w]| x * scale * w)
            })
        });
        [y, scales]
    });
    (y, scales)
}

/// Gradients of x and weight. Each task sums the second over its rows.
fn backward<T: Float>(x: &[T], scales: &[T], weight: &[T], grad: &[T]) -> (Vec<T>, Vec<T>) {
    let c = weight.len();
    let part = whole_rows(c);
    let sums = x.len().div_ceil(part) * c;
    let [grad_x, sums] = build([(x.len(), part), (sums, c)], |i, [grad_x, grad_weight]| {
        let (x, grad, scales) = (&x[i * part..], &grad[i * part..], &scales[i * part / c..]);
        let mut grad_weight = grad_weight.zeroed();
        let grad_x = vectorized!({
            grad_x.fill_rows(c, |row, out| {
                let (x, grad, scale) = (&x[row * c..][..c], &grad[row * c..][..c], scales[row]);
                let mean =
                    sum([grad, weight, x], |[g, w, x]| g * w * x) * scale / T::cast(c as f64);
                for i in 0..c {
                    grad_weight[i] += grad[i] * x[i] * scale;
                }
                out.fill([grad, weight, x], |[g, w, x]| (g * w - x * scale * mean) * scale)
            })
        });
        [grad_x, grad_weight]
    });
    (grad_x, sum_of_rows(&sums, c))
}
