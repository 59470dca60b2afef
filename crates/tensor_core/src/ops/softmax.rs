//! softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x), over the last dimension.
//!
//! With y the result: grad x = y · (grad − Σ grad · y).

use candle_core::{D, DType, Result, Tensor};

use super::cpu::{
    Real, by_type, for_each_part, has_fused_loops, largest, rows_per_task, sum, vectorized,
};
use super::node::{attach, values};

/// Turns each row of `x: (.., N)` into probabilities. A row that is −∞ everywhere gives zeros, not NaN.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if has_fused_loops(x) { by_type!(x, fused(x)) } else { reference(x) }
}

/// The same from plain tensor operations.
pub fn reference(x: &Tensor) -> Result<Tensor> {
    // Any constant may be subtracted from a row, so the largest value needs no gradient.
    let max = x.detach().max_keepdim(D::Minus1)?; // (.., 1)
    let max = max.maximum(lowest_finite(x.dtype()))?; // (−∞) − (−∞) would be NaN
    let exp = x.broadcast_sub(&max)?.exp()?;
    let sum = exp.sum_keepdim(D::Minus1)?; // (.., 1)
    let sum = sum.maximum(0.5)?; // the largest value alone adds 1, so this only replaces a sum of 0
    exp.broadcast_div(&sum)
}

fn lowest_finite(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -65504.,
        DType::BF16 => -3e38,
        _ => f64::from(f32::MIN),
    }
}

fn fused<T: Real>(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let x = &x.contiguous()?;
    let mut y = values::<T>(x)?.to_vec();
    for_each_part(&mut y, rows_per_task(n) * n, |_, part| {
        vectorized(|| part.chunks_exact_mut(n).for_each(softmax_row));
    });
    let result = y.clone();
    attach("softmax", [x], y, x.shape(), move |[x], grad| {
        let grad = values::<T>(grad)?;
        let mut grad_x = grad.to_vec();
        for_each_part(&mut grad_x, rows_per_task(n) * n, |start, part| {
            vectorized(|| {
                for (out, y) in part.chunks_exact_mut(n).zip(result[start..].chunks_exact(n)) {
                    let mean = sum(n, |i| out[i] * y[i]);
                    out.iter_mut().zip(y).for_each(|(out, &y)| *out = y * (*out - mean));
                }
            });
        });
        Ok([Some(Tensor::from_vec(grad_x, x.shape(), x.device())?)])
    })
}

/// Softmax of one row in place; zeros if everything is −∞.
#[inline(always)]
pub(crate) fn softmax_row<T: Real>(row: &mut [T]) {
    let max = largest(row);
    if max == T::real(f64::NEG_INFINITY) {
        return row.fill(T::ZERO);
    }
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let scale = T::ONE / sum(row.len(), |i| row[i]);
    row.iter_mut().for_each(|x| *x *= scale);
}
