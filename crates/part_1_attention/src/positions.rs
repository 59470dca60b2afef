//! 1.1 Positions. Attention ignores the order of tokens (it is permutation equivariant). Adding a
//! vector that depends on the position alone encodes the order.
//!
//! Sinusoidal (Vaswani et al., <https://arxiv.org/abs/1706.03762>, 3.5): PE(t, 2i) = sin(t·ωᵢ),
//! PE(t, 2i+1) = cos(t·ωᵢ), ωᵢ = 10000^(−2i/C). Learned (GPT-2): one trainable vector per position.

use candle_core::{DType, Device, Result, Tensor, bail};
use tensor_core::{Embedding, Init, Scope};

/// Table of the first `t` sinusoidal positions with `c` channels: (T, C).
pub fn sinusoidal_positions(t: usize, c: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut table = Vec::with_capacity(t * c);
    for position in 0..t {
        for channel in 0..c {
            let pair = channel / 2;
            let angle = position as f64 * frequency(pair, c);
            table.push(if channel % 2 == 0 { angle.sin() } else { angle.cos() });
        }
    }
    Tensor::from_vec(table, (t, c), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// Frequency ωᵢ: the angle by which pair `i` of `c` channels rotates from one position to the next.
pub fn frequency(i: usize, c: usize) -> f64 {
    10000f64.powf(-2. * i as f64 / c as f64)
}

/// Cosine of the angle between the vectors of two positions that are `distance` apart, the same
/// wherever they stand: cos(PE(t), PE(t + k)) = (2/C) Σᵢ cos(k·ωᵢ).
pub fn similarity_at_distance(distance: usize, c: usize) -> f64 {
    let cosines = (0..c / 2).map(|pair| (distance as f64 * frequency(pair, c)).cos());
    cosines.sum::<f64>() / (c / 2) as f64
}

/// Learned vector for each position up to a fixed length.
#[derive(Debug, Clone)]
pub struct LearnedPositions {
    table: Embedding, // (context_len, C)
}

impl LearnedPositions {
    /// Table of `context_len` positions; parameter `weight`.
    pub fn new(scope: Scope<'_>, context_len: usize, n_embd: usize, init: Init) -> Result<Self> {
        Ok(Self { table: Embedding::new(scope, context_len, n_embd, init)? })
    }

    /// Vectors of positions 0 to T-1: (T, C).
    ///
    /// # Errors
    /// When `t` is longer than the table.
    pub fn forward(&self, t: usize) -> Result<Tensor> {
        let (context_len, _c) = self.table.weight.dims()?;
        if t > context_len {
            bail!("{t} tokens do not fit a model with context_len {context_len}");
        }
        self.table.weight.as_tensor()?.narrow(0, 0, t)
    }
}
