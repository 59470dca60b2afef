//! Seeded random numbers: the same seed gives the same stream on every machine and device.
//!
//! candle's CPU generator cannot be seeded, so weights, dropout, batches and samples use this one:
//! xoshiro256++ (Blackman and Vigna, <https://arxiv.org/abs/1805.01407>), seeded through splitmix64
//! as its authors advise. Numbers are generated on the CPU and copied to the device, so that a
//! model has the same initial weights on a CPU and on a GPU.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Random number generator. Its whole state is four words, saved and restored by `serde`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// Stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| splitmix64(&mut x));
        Self { state }
    }

    /// New independent stream. Using it never shifts the numbers that this one generates later.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// Next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform sample from [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64 // 53 bits, all that an f64 holds
    }

    /// Sample from the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2. * (1. - self.uniform()).ln()).sqrt(); // 1 - u is never 0
        radius * (TAU * self.uniform()).cos()
    }

    /// Uniform integer from 0 to `n - 1` (Lemire, <https://arxiv.org/abs/1805.10941>).
    ///
    /// # Panics
    /// When `n` is 0: the range is empty.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0)");
        let n = n as u64;
        let biased = n.wrapping_neg() % n; // 2^64 mod n: smaller low halves would bias the result
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= biased {
                return (product >> 64) as usize;
            }
        }
    }

    /// Shuffles `items`; every order is equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Tensor of normal samples with mean 0 and standard deviation `std`.
    pub fn normal_tensor(
        &mut self,
        shape: impl Into<Shape>,
        std: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.fill(shape.into(), dtype, device, |rng| rng.normal() * std)
    }

    /// Tensor of uniform samples from [low, high).
    pub fn uniform_tensor(
        &mut self,
        shape: impl Into<Shape>,
        (low, high): (f64, f64),
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.fill(shape.into(), dtype, device, |rng| low + (high - low) * rng.uniform())
    }

    fn fill(
        &mut self,
        shape: Shape,
        dtype: DType,
        device: &Device,
        sample: impl Fn(&mut Self) -> f64,
    ) -> Result<Tensor> {
        let values: Vec<f64> = (0..shape.elem_count()).map(|_| sample(self)).collect();
        // Converted to the target dtype here, since few CUDA kernels convert from f64.
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    }
}

fn splitmix64(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*x ^ (*x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
