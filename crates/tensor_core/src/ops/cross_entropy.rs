//! loss = mean over real targets t of −log softmax(x)ₜ = log Σⱼ exp(xⱼ) − xₜ.
//!
//! Its gradient in a row of logits is (softmax(x) − one at the target) / number of real targets.

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{
    Real, by_type, for_each_part, has_fused_loops, largest, rows_per_task, sum, vectorized,
};
use super::node::{attach, values};

/// A target with this value is no target: its row does not count. PyTorch's convention.
pub const IGNORE_INDEX: i64 = -100;

/// The mean cross-entropy in nats of `logits: (.., V)` against `targets: (..)` (i64, [`IGNORE_INDEX`] left out).
///
/// Without any real target the loss is 0 (and so is its gradient), not NaN.
///
/// # Errors
/// When the shapes do not fit, or a target lies outside the vocabulary.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let v = logits.dim(D::Minus1)?;
    if logits.dims()[..logits.rank() - 1] != *targets.dims() {
        let (x, t) = (logits.dims(), targets.dims());
        bail!("cross_entropy: logits {x:?} do not fit targets {t:?}");
    }
    let logits = &logits.reshape(((), v))?; // (N, V)
    let targets = &targets.flatten_all()?.to_dtype(DType::I64)?; // (N)
    if has_fused_loops(logits) {
        by_type!(logits, fused(logits, targets.to_vec1()?))
    } else {
        reference(logits, targets)
    }
}

/// The same from plain tensor operations, for `logits: (N, V)` and `targets: (N)`.
pub fn reference(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let real = targets.ne(IGNORE_INDEX)?; // (N), 1 where there is a target
    let targets = real.where_cond(targets, &targets.zeros_like()?)?;
    let max = logits.detach().max_keepdim(D::Minus1)?; // (N, 1)
    let shifted = logits.broadcast_sub(&max)?; // so that exp cannot overflow
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?; // (N)
    let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?; // (N)
    let real = real.to_dtype(logits.dtype())?;
    let count = real.sum_all()?.maximum(1.)?;
    ((log_sum - chosen)? * &real)?.sum_all()? / count
}

fn fused<T: Real>(logits: &Tensor, targets: Vec<i64>) -> Result<Tensor> {
    let (_n, v) = logits.dims2()?;
    let logits = &logits.contiguous()?;
    let outside = |&&t: &&i64| t != IGNORE_INDEX && !(0..v as i64).contains(&t);
    if let Some(target) = targets.iter().find(outside) {
        bail!("cross_entropy: target {target} lies outside the vocabulary of {v}");
    }
    let count = targets.iter().filter(|&&t| t != IGNORE_INDEX).count().max(1) as f64;
    let log_sums = log_sums(&values::<T>(logits)?, v); // (N)
    let total: f64 = {
        let x = values::<T>(logits)?;
        let real = (0..targets.len()).filter(|&row| targets[row] != IGNORE_INDEX);
        real.map(|row| (log_sums[row] - x[row * v + targets[row] as usize]).to_f64()).sum()
    };
    let loss = vec![T::real(total / count)];
    attach("cross_entropy", [logits], loss, (), move |[logits], grad| {
        let scale = T::real(values::<T>(grad)?[0].to_f64() / count);
        let x = values::<T>(logits)?;
        let mut grad_x = vec![T::ZERO; x.len()];
        for_each_part(&mut grad_x, rows_per_task(v) * v, |start, part| {
            vectorized(|| {
                for (out, row) in part.chunks_exact_mut(v).zip(start / v..) {
                    if targets[row] != IGNORE_INDEX {
                        let (x, log_sum) = (&x[row * v..(row + 1) * v], log_sums[row]);
                        let each = out.iter_mut().zip(x);
                        each.for_each(|(out, &x)| *out = scale * (x - log_sum).exp());
                        out[targets[row] as usize] += -scale;
                    }
                }
            });
        });
        Ok([Some(Tensor::from_vec(grad_x, logits.shape(), logits.device())?)])
    })
}

/// log Σ exp of each row of `v` numbers.
fn log_sums<T: Real>(x: &[T], v: usize) -> Vec<T> {
    let rows = x.par_chunks_exact(v).with_min_len(rows_per_task(v));
    rows.map(|x| {
        vectorized(|| {
            let max = largest(x);
            max + sum(v, |i| (x[i] - max).exp()).ln()
        })
    })
    .collect()
}
