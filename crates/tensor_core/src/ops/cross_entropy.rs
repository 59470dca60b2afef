//! Cross-entropy: the mean over all targets t of −log softmax(x)ₜ = log Σⱼ exp(xⱼ) − xₜ.
//!
//! The gradient of a row of logits is (softmax(x) − onehot(t)) / number of targets. Probabilities
//! exist only while a row of the gradient is written.

use candle_core::{D, DType, Result, Tensor, bail};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::graph::record;
use crate::kernels::{Float, log_sums, map_rows, tensor_like, values};

/// Target of a row that is ignored. PyTorch's convention.
pub const IGNORE_INDEX: i64 = -100;

/// Mean cross-entropy in nats of `logits: (.., V)`, of rank 2 or more, against `targets: (..)`
/// (i64); rows with [`IGNORE_INDEX`] are left out.
///
/// The loss and its gradient are 0, not NaN, if all rows are ignored.
///
/// # Errors
/// When the shapes do not fit, or a target lies outside the vocabulary, which is checked [on the
/// CPU only](crate::ops#ids-and-targets-on-a-gpu).
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    check_targets("cross_entropy", logits, targets)?;
    fused_or_reference!(logits, targets)
}

/// Reference implementation from plain tensor operations.
pub fn reference(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if targets.device().is_cpu() {
        // candle accepts some invalid targets.
        columns("cross_entropy", targets, logits.dim(D::Minus1)?)?;
    }
    in_f32(logits, |logits| plain(logits, targets))
}

fn plain(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let logits = logits.flatten_to(D::Minus2)?; // (N, V)
    let targets = targets.flatten_all()?; // (N)
    let has_target = targets.ne(IGNORE_INDEX)?; // (N), 1 where there is a target
    let targets = has_target.where_cond(&targets, &targets.zeros_like()?)?;
    let max = logits.detach().max_keepdim(D::Minus1)?; // (N, 1)
    let shifted = logits.broadcast_sub(&max)?; // so that exp cannot overflow
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?; // (N)
    let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?; // (N)
    let count = has_target.to_dtype(logits.dtype())?.sum_all()?.maximum(1.)?;
    // Select instead of multiplying: an ignored row uses target 0, whose loss may be ∞.
    let losses = (log_sum - chosen)?;
    has_target.where_cond(&losses, &losses.zeros_like()?)?.sum_all()? / count
}

/// Checks that there is one i64 target for each row of logits.
pub(super) fn check_targets(op: &str, logits: &Tensor, targets: &Tensor) -> Result<()> {
    check(op, &[("logits", logits)], logits.rank() > 1)?;
    let fit = logits.dims()[..logits.rank() - 1] == *targets.dims()
        && targets.dtype() == DType::I64
        && targets.device().same_device(logits.device());
    if !fit {
        let targets = (targets.dims(), targets.dtype(), targets.device().location());
        let logits = (logits.dims(), logits.dtype(), logits.device().location());
        bail!(
            "{op}: logits {logits:?} do not fit targets {targets:?}: one i64 per row is expected"
        );
    }
    Ok(())
}

/// Column of each row's target; `None` if the row is ignored.
pub(super) fn columns(op: &str, targets: &Tensor, v: usize) -> Result<Vec<Option<usize>>> {
    let column = |target: i64| match target {
        IGNORE_INDEX => Ok(None),
        target if (0..v as i64).contains(&target) => Ok(Some(target as usize)),
        _ => bail!("{op}: target {target} lies outside the vocabulary of {v}"),
    };
    targets.flatten_all()?.to_vec1()?.into_iter().map(column).collect()
}

fn fused<T: Float>(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let v = logits.dim(D::Minus1)?;
    let logits = logits.contiguous()?;
    let targets = columns("cross_entropy", targets, v)?;
    let count = targets.iter().flatten().count().max(1) as f64;
    let log_sums = log_sums::<T>(&values(&logits)?, v); // (N)
    let total: f64 = {
        let x = values::<T>(&logits)?;
        let rows = targets.iter().zip(&log_sums).zip(x.chunks_exact(v));
        rows.filter_map(|((t, log_sum), x)| t.map(|t| (*log_sum - x[t]).to_f64())).sum()
    };
    record("cross_entropy", [&logits], vec![T::cast(total / count)], (), {
        let logits = logits.detach();
        move |grad, _| {
            let scale = T::cast(values::<T>(grad)?[0].to_f64() / count);
            let weights: Vec<T> = targets.iter().map(|_| scale).collect();
            let grad_x = backward(&values::<T>(&logits)?, &log_sums, &targets, &weights);
            Ok([Some(tensor_like(grad_x, &logits)?)])
        }
    })
}

/// Gradient of Σ weight · (log Σ exp x − xₜ), with ignored rows left out.
pub(super) fn backward<T: Float>(
    x: &[T],
    log_sums: &[T],
    targets: &[Option<usize>],
    weights: &[T],
) -> Vec<T> {
    let v = x.len() / targets.len();
    map_rows!(v, [x], |row, out| {
        let Some(target) = targets[row] else { return out.zeroed() };
        let (weight, log_sum) = (weights[row], log_sums[row]);
        let mut out = out.fill([x], |[x]| weight * (x - log_sum).exp());
        out[target] += -weight;
        out
    })
}
