//! Entropy of each row of logits, H = −Σ p log p with p = softmax(x). The gradient is −p · (log p +
//! H).

use candle_core::{D, Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use super::log_softmax;
use crate::graph::record;
use crate::kernels::{Float, log_sums, map_rows, reduce_rows, sum, tensor_like, values};

/// Entropy in nats of each row of `logits: (.., V)`, as `(..)`.
pub fn entropy(logits: &Tensor) -> Result<Tensor> {
    check("entropy", &[("logits", logits)], logits.rank() > 0)?;
    fused_or_reference!(logits)
}

/// Reference implementation from plain tensor operations.
pub fn reference(logits: &Tensor) -> Result<Tensor> {
    in_f32(logits, |logits| {
        let log_probs = log_softmax::reference(logits)?.maximum(-1e30)?; // 0 · −∞ would be NaN
        (log_probs.exp()? * log_probs)?.sum(D::Minus1)?.neg()
    })
}

fn fused<T: Float>(logits: &Tensor) -> Result<Tensor> {
    let v = logits.dim(D::Minus1)?;
    let logits = logits.contiguous()?;
    let log_sums = log_sums::<T>(&values(&logits)?, v); // (N)
    let entropies = entropies::<T>(&values(&logits)?, &log_sums);
    let saved_entropies = entropies.clone();
    let shape = &logits.dims()[..logits.rank() - 1];
    record("entropy", [&logits], entropies, shape, {
        let logits = logits.detach();
        move |grad, _| {
            let grad_x =
                backward::<T>(&values(&logits)?, &log_sums, &saved_entropies, &values(grad)?);
            Ok([Some(tensor_like(grad_x, &logits)?)])
        }
    })
}

fn entropies<T: Float>(x: &[T], log_sums: &[T]) -> Vec<T> {
    let v = x.len() / log_sums.len();
    reduce_rows!(log_sums.len(), v, |row| {
        let log_sum = log_sums[row];
        -sum([&x[row * v..][..v]], |[x]| plogp(x - log_sum))
    })
}

/// exp(y) · y, which is 0 at −∞.
#[inline(always)]
fn plogp<T: Float>(y: T) -> T {
    y.exp() * y.larger(T::cast(-1e30))
}

fn backward<T: Float>(x: &[T], log_sums: &[T], entropies: &[T], grad: &[T]) -> Vec<T> {
    let v = x.len() / log_sums.len();
    map_rows!(v, [x], |row, out| {
        let (log_sum, entropy, grad) = (log_sums[row], entropies[row], grad[row]);
        out.fill([x], |[x]| {
            let y = x - log_sum;
            -grad * (plogp(y) + y.exp() * entropy)
        })
    })
}
