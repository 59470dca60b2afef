//! Seeded random numbers: the same seed gives the same stream on every machine and device.
//!
//! candle's CPU generator cannot be seeded, so weights, dropout, batches and samples use this one:
//! xoshiro256++ (Blackman and Vigna, <https://arxiv.org/abs/1805.01407>), seeded through splitmix64
//! as its authors advise. Numbers are generated on the CPU and copied to the device, so that a
//! model has the same initial weights on a CPU and on a GPU.
//!
//! The generator is rand_xoshiro's, and [`Rng`] has rand's traits, so every distribution of rand
//! can sample from it. Normal numbers, integers and shuffles are written out here nevertheless: a
//! seed then means the same run in every version of rand, whose algorithms for them change.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Shape, Tensor};
use rand::{Rng as _, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Random number generator. Its whole state is four words, saved and restored by `serde`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub struct Rng {
    state: Xoshiro256PlusPlus,
}

/// State in a file: as it is written, or the four words alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Saved {
    Generator { state: Xoshiro256PlusPlus },
    Words { state: [u64; 4] },
}

impl From<Saved> for Rng {
    fn from(saved: Saved) -> Self {
        let state = match saved {
            Saved::Generator { state } => state,
            Saved::Words { state } => {
                let mut bytes = [0; 32];
                for (bytes, word) in bytes.chunks_exact_mut(8).zip(state) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
                Xoshiro256PlusPlus::from_seed(bytes)
            }
        };
        Self { state }
    }
}

impl RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        self.state.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.state.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.state.fill_bytes(bytes);
    }
}

impl Rng {
    /// Stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// Stream of step or epoch `index` of `seed`, so that a resumed run needs no state of an
    /// earlier one.
    pub fn of_index(seed: u64, index: u64) -> Self {
        // The golden ratio spreads neighbouring indices over all seeds.
        Self::new(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// New independent stream. Using it never shifts the numbers that this one generates later.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// Uniform sample from [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.random() // 53 bits, all that an f64 holds
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
