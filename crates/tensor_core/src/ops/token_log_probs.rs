//! Log-probability of each token, log p(t) = xₜ − log Σⱼ exp(xⱼ), which alignment losses need.
//!
//! The gradient is onehot(t) − softmax(x).

use candle_core::{D, Result, Tensor};

use super::cross_entropy::{IGNORE_INDEX, backward, check_targets, columns};
use super::dispatch::fused_or_reference;
use super::log_softmax;
use crate::graph::record;
use crate::kernels::{Float, log_sums, tensor_like, values};

/// Log-probability of each of `targets: (..)` (i64) under `logits: (.., V)`, of rank 2 or more; 0
/// for [`IGNORE_INDEX`].
///
/// # Errors
/// When the shapes do not fit, or a target lies outside the vocabulary, which is checked [on the
/// CPU only](crate::ops#ids-and-targets-on-a-gpu).
pub fn token_log_probs(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    check_targets("token_log_probs", logits, targets)?;
    fused_or_reference!(logits, targets)
}

/// Reference implementation from plain tensor operations.
pub fn reference(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if targets.device().is_cpu() {
        // candle accepts some invalid targets.
        columns("token_log_probs", targets, logits.dim(D::Minus1)?)?;
    }
    let has_target = targets.ne(IGNORE_INDEX)?;
    let targets = has_target.where_cond(targets, &targets.zeros_like()?)?.unsqueeze(D::Minus1)?;
    let log_probs = log_softmax::reference(logits)?; // (.., V)
    let chosen = log_probs.gather(&targets, D::Minus1)?.squeeze(D::Minus1)?;
    has_target.where_cond(&chosen, &chosen.zeros_like()?)
}

fn fused<T: Float>(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let v = logits.dim(D::Minus1)?;
    let (logits, shape) = (logits.contiguous()?, targets.shape());
    let targets = columns("token_log_probs", targets, v)?;
    let log_sums = log_sums::<T>(&values(&logits)?, v); // (N)
    let log_probs = {
        let x = values::<T>(&logits)?;
        let rows = targets.iter().zip(&log_sums).zip(x.chunks_exact(v));
        rows.map(|((t, &log_sum), x)| t.map_or(T::ZERO, |t| x[t] - log_sum)).collect()
    };
    record("token_log_probs", [&logits], log_probs, shape, {
        let logits = logits.detach();
        move |grad, _| {
            let weights: Vec<T> = values::<T>(grad)?.iter().map(|&grad| -grad).collect();
            let grad_x = backward(&values::<T>(&logits)?, &log_sums, &targets, &weights);
            Ok([Some(tensor_like(grad_x, &logits)?)])
        }
    })
}
