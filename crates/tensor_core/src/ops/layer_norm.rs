//! y = (x − mean) / √(variance + ε) · weight + bias, over the last dimension.
//!
//! With n the normalised row and g = grad · weight: grad x = (g − mean(g) − n · mean(g · n)) / √(variance + ε).

use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{Real, by_type, for_each_part, has_fused_loops, rows_per_task, sum, vectorized};
use super::node::{attach, values};

/// Normalises each row of `x: (.., C)`, then scales by `weight: (C)` and shifts by `bias: (C)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let c = x.dim(D::Minus1)?;
    if weight.dims() != [c] || bias.dims() != [c] {
        let (x, w, b) = (x.dims(), weight.dims(), bias.dims());
        bail!("layer_norm: rows of {x:?} do not fit weight {w:?} and bias {b:?}");
    }
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
    let (x, weight, bias) = (&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?);
    let y = forward(&values::<T>(x)?, &values::<T>(weight)?, &values::<T>(bias)?, eps);
    attach("layer_norm", [x, weight, bias], y, x.shape(), move |[x, weight, _], grad| {
        let (grad_x, grad_weight, grad_bias) =
            backward(&values::<T>(x)?, &values::<T>(weight)?, &values::<T>(grad)?, eps);
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), x.device());
        Ok([
            Some(tensor(grad_x, x)?),
            Some(tensor(grad_weight, weight)?),
            Some(tensor(grad_bias, weight)?),
        ])
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
    let mut y = vec![T::ZERO; x.len()];
    for_each_part(&mut y, rows_per_task(c) * c, |start, part| {
        vectorized(|| {
            for (y, x) in part.chunks_exact_mut(c).zip(x[start..].chunks_exact(c)) {
                let (mean, scale) = moments(x, eps);
                for i in 0..c {
                    y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
                }
            }
        });
    });
    y
}

/// The gradients of x, weight and bias. Each task sums its rows; the tasks' sums are added in order.
fn backward<T: Real>(x: &[T], weight: &[T], grad: &[T], eps: f64) -> (Vec<T>, Vec<T>, Vec<T>) {
    let c = weight.len();
    let per_task = rows_per_task(c) * c;
    let mut grad_x = vec![T::ZERO; x.len()];
    let tasks = grad_x.par_chunks_mut(per_task).enumerate();
    let sums: Vec<Vec<T>> = tasks
        .map(|(task, grad_x)| {
            let start = task * per_task;
            let mut sums = vec![T::ZERO; 2 * c]; // weight, then bias
            vectorized(|| {
                let (of_weight, of_bias) = sums.split_at_mut(c);
                let rows = x[start..].chunks_exact(c).zip(grad[start..].chunks_exact(c));
                for (out, (x, grad)) in grad_x.chunks_exact_mut(c).zip(rows) {
                    let (mean, scale) = moments(x, eps);
                    let n = T::real(c as f64);
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
            sums
        })
        .collect();
    let mut total = vec![T::ZERO; 2 * c];
    for sums in sums {
        total.iter_mut().zip(sums).for_each(|(total, x)| *total += x);
    }
    let grad_bias = total.split_off(c);
    (grad_x, total, grad_bias)
}
