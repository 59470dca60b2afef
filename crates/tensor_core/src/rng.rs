//! Seeded randomness: the same seed gives the same stream on every machine and device.
//!
//! candle's CPU generator cannot be seeded, so weights, dropout, batches and samples draw from this one:
//! xoshiro256++ (Blackman and Vigna, <https://arxiv.org/abs/1805.01407>), seeded through splitmix64 as its authors
//! advise. Numbers are drawn on the CPU and copied, so that a model starts alike on a CPU and on a GPU.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// A generator of random numbers whose whole state is four words: saved and restored by `serde`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| splitmix64(&mut x));
        Self { state }
    }

    /// A new stream of its own, so that whoever uses it never shifts the numbers drawn here later.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// The next 64 random bits.
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

    /// A number from [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64 // 53 bits, all that an f64 holds
    }

    /// A number from the normal distribution with mean 0 and standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2. * (1. - self.uniform()).ln()).sqrt(); // 1 - u is never 0
        radius * (TAU * self.uniform()).cos()
    }

    /// An integer from 0 to `n - 1`, each equally likely (Lemire, <https://arxiv.org/abs/1805.10941>).
    ///
    /// # Panics
    /// When `n` is 0: there is no such integer.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0)");
        let n = n as u64;
        let biased = n.wrapping_neg() % n; // 2^64 mod n: low halves under it would favour some results
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= biased {
                return (product >> 64) as usize;
            }
        }
    }

    /// Puts `items` in random order, each order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A tensor of normal numbers with mean 0 and standard deviation `std`.
    pub fn normal_tensor(
        &mut self,
        shape: impl Into<Shape>,
        std: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.fill(shape.into(), dtype, device, |rng| rng.normal() * std)
    }

    /// A tensor of numbers from [low, high).
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
        draw: impl Fn(&mut Self) -> f64,
    ) -> Result<Tensor> {
        let values: Vec<f64> = (0..shape.elem_count()).map(|_| draw(self)).collect();
        // Rounded to the target type here, since few CUDA kernels convert from f64.
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    }
}

fn splitmix64(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*x ^ (*x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
