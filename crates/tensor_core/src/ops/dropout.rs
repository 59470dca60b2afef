//! Dropout: each element becomes 0 with probability p, the others are scaled by 1 / (1 − p), so
//! that the mean stays the same (Srivastava et al.,
//! <https://jmlr.org/papers/v15/srivastava14a.html>).
//!
//! The mask follows from a seed, so the backward pass generates it again instead of saving it.

use candle_core::{Device, Result, Tensor};
use rand::RngCore;

use super::dispatch::{fused_or_reference, in_f32};
use crate::Rng;
use crate::graph::record;
use crate::kernels::{Float, GRAIN, build, tensor_like, values, vectorized};

/// Dropout of `x`, of any shape, with probability `p`; the same `seed` gives the same mask.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    fused_or_reference!(x, p, seed)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    let n = x.elem_count();
    let parts = (0..n.div_ceil(GRAIN)).flat_map(|i| factors(seed, i, GRAIN.min(n - i * GRAIN), p));
    let factors = Tensor::from_vec(parts.collect::<Vec<f64>>(), x.shape(), &Device::Cpu)?;
    in_f32(x, |x| x * factors.to_dtype(x.dtype())?.to_device(x.device())?)
}

fn fused<T: Float>(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    let x = x.contiguous()?;
    record("dropout", [&x], apply_mask::<T>(&values(&x)?, p, seed), x.shape(), move |grad, _| {
        Ok([Some(tensor_like(apply_mask::<T>(&values(grad)?, p, seed), grad)?)])
    })
}

fn apply_mask<T: Float>(x: &[T], p: f64, seed: u64) -> Vec<T> {
    let [y] = build([(x.len(), GRAIN)], |i, [y]| {
        let factors: Vec<T> = factors(seed, i, y.len(), p);
        [vectorized!(y.fill([&x[i * GRAIN..], &factors], |[x, factor]| x * factor))]
    });
    y
}

/// Factors of the `n` elements of part `i`. Each part has a random stream of its own, so that
/// threads are independent.
fn factors<T: Float>(seed: u64, i: usize, n: usize, p: f64) -> Vec<T> {
    let mut rng = Rng::new(seed.wrapping_add(i as u64));
    let (scale, threshold) = (T::cast(1. / (1. - p)), (p * 2f64.powi(32)) as u64);
    let mut factors = Vec::with_capacity(n + 1);
    while factors.len() < n {
        let bits = rng.next_u64();
        for word in [bits >> 32, bits & 0xffff_ffff] {
            factors.push(if word < threshold { T::ZERO } else { scale });
        }
    }
    factors.truncate(n);
    factors
}
