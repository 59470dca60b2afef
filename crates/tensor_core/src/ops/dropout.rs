//! Dropout: each number becomes 0 with probability p, the others grow by 1 / (1 − p), so that the mean stays
//! (Srivastava et al., <https://jmlr.org/papers/v15/srivastava14a.html>).
//!
//! Which ones follows from a seed, so the backward pass draws them again instead of having kept them.

use candle_core::{Device, Result, Tensor};

use super::cpu::{GRAIN, by_type, has_fused_loops, vectorized};
use super::float::Real;
use super::storage::{tensor_like, values};
use super::uninit::build;
use crate::Rng;
use crate::graph::record;

/// `x` of any shape, each number dropped with probability `p`; the same `seed` drops the same ones.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    if has_fused_loops(x) { by_type!(x, fused(x, p, seed)) } else { reference(x, p, seed) }
}

/// The same from plain tensor operations.
pub fn reference(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    let n = x.elem_count();
    let parts = (0..n.div_ceil(GRAIN)).flat_map(|i| factors(seed, i, GRAIN.min(n - i * GRAIN), p));
    let factors = Tensor::from_vec(parts.collect::<Vec<f64>>(), x.shape(), &Device::Cpu)?;
    x * factors.to_dtype(x.dtype())?.to_device(x.device())?
}

fn fused<T: Real>(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    let x = x.contiguous()?;
    record("dropout", [&x], dropped::<T>(&values(&x)?, p, seed), x.shape(), move |grad, _| {
        Ok([Some(tensor_like(dropped::<T>(&values(grad)?, p, seed), grad)?)])
    })
}

fn dropped<T: Real>(x: &[T], p: f64, seed: u64) -> Vec<T> {
    let [y] = build([(x.len(), GRAIN)], |i, [y]| {
        let factors: Vec<T> = factors(seed, i, y.len(), p);
        [vectorized!(y.fill([&x[i * GRAIN..], &factors], |[x, factor]| x * factor))]
    });
    y
}

/// What the `n` numbers of part `i` are multiplied by. Each part has a stream of its own, so threads need not wait.
fn factors<T: Real>(seed: u64, i: usize, n: usize, p: f64) -> Vec<T> {
    let mut rng = Rng::new(seed.wrapping_add(i as u64));
    let (kept, threshold) = (T::real(1. / (1. - p)), (p * 2f64.powi(32)) as u64);
    let mut factors = Vec::with_capacity(n + 1);
    while factors.len() < n {
        let bits = rng.next_u64();
        for half in [bits >> 32, bits & 0xffff_ffff] {
            factors.push(if half < threshold { T::ZERO } else { kept });
        }
    }
    factors.truncate(n);
    factors
}
