//! Quantities that alignment losses need from the logits: the log-probability of each token, and
//! the entropy of each row.
//!
//! log p(t) = xₜ − log Σⱼ exp(xⱼ), with gradient onehot(t) − softmax(x). H = −Σ p log p, with
//! gradient −p · (log p + H).

use candle_core::{D, Result, Tensor};

use super::check::check;
use super::cpu::{by_type, has_fused_loops, vectorized, whole_rows};
use super::cross_entropy::{IGNORE_INDEX, backward, check_targets, columns, log_sums};
use super::float::Float;
use super::half::in_f32;
use super::log_softmax;
use super::storage::{tensor_like, values};
use super::sums::sum;
use super::uninit::build;
use crate::graph::record;

/// Log-probability of each of `targets: (..)` (i64) under `logits: (.., V)`, of rank 2 or more; 0
/// for [`IGNORE_INDEX`].
///
/// # Errors
/// When the shapes do not fit, or a target lies outside the vocabulary.
pub fn token_log_probs(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    check_targets("token_log_probs", logits, targets)?;
    if has_fused_loops(logits) {
        by_type!(logits, fused_token_log_probs(logits, targets))
    } else {
        token_log_probs_reference(logits, targets)
    }
}

/// Reference implementation of [`token_log_probs`] from plain tensor operations.
pub fn token_log_probs_reference(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
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

/// Entropy in nats of each row of `logits: (.., V)`, as `(..)`.
pub fn entropy(logits: &Tensor) -> Result<Tensor> {
    check("entropy", &[("logits", logits)], logits.rank() > 0)?;
    if has_fused_loops(logits) {
        by_type!(logits, fused_entropy(logits))
    } else {
        entropy_reference(logits)
    }
}

/// Reference implementation of [`entropy`] from plain tensor operations.
pub fn entropy_reference(logits: &Tensor) -> Result<Tensor> {
    in_f32(logits, |logits| {
        let log_probs = log_softmax::reference(logits)?.maximum(-1e30)?; // 0 · −∞ would be NaN
        (log_probs.exp()? * log_probs)?.sum(D::Minus1)?.neg()
    })
}

fn fused_token_log_probs<T: Float>(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
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

fn fused_entropy<T: Float>(logits: &Tensor) -> Result<Tensor> {
    let v = logits.dim(D::Minus1)?;
    let logits = logits.contiguous()?;
    let log_sums = log_sums::<T>(&values(&logits)?, v); // (N)
    let entropies = entropies::<T>(&values(&logits)?, &log_sums);
    let saved_entropies = entropies.clone();
    let shape = &logits.dims()[..logits.rank() - 1];
    record("entropy", [&logits], entropies, shape, {
        let logits = logits.detach();
        move |grad, _| {
            let grad_x = entropy_backward::<T>(
                &values(&logits)?,
                &log_sums,
                &saved_entropies,
                &values(grad)?,
            );
            Ok([Some(tensor_like(grad_x, &logits)?)])
        }
    })
}

fn entropies<T: Float>(x: &[T], log_sums: &[T]) -> Vec<T> {
    let v = x.len() / log_sums.len();
    let part = whole_rows(v);
    let [entropies] = build([(log_sums.len(), part / v)], |i, [entropies]| {
        let first = i * part / v;
        [vectorized!({
            entropies.fill_each(|row| {
                let row = first + row;
                let (x, log_sum) = (&x[row * v..][..v], log_sums[row]);
                -sum([x], |[x]| plogp(x - log_sum))
            })
        })]
    });
    entropies
}

/// exp(y) · y, which is 0 at −∞.
#[inline(always)]
fn plogp<T: Float>(y: T) -> T {
    y.exp() * y.larger(T::cast(-1e30))
}

fn entropy_backward<T: Float>(x: &[T], log_sums: &[T], entropies: &[T], grad: &[T]) -> Vec<T> {
    let v = x.len() / log_sums.len();
    let part = whole_rows(v);
    let [grad_x] = build([(x.len(), part)], |i, [grad_x]| {
        let first = i * part / v;
        [vectorized!({
            grad_x.fill_rows(v, |row, out| {
                let row = first + row;
                let (log_sum, entropy, grad) = (log_sums[row], entropies[row], grad[row]);
                let x = &x[row * v..][..v];
                out.fill([x], |[x]| {
                    let y = x - log_sum;
                    -grad * (plogp(y) + y.exp() * entropy)
                })
            })
        })]
    });
    grad_x
}
