//! Sizes of a transformer block, and the standard deviations of its initial weights.

use candle_core::{Result, bail};
use tensor_core::ops::Gelu;

/// Sizes of a block, and of the stack that it is part of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockConfig {
    /// Number of blocks in the stack: the more there are, the smaller the initial contribution of
    /// each.
    pub n_layer: usize,
    /// Number of heads H.
    pub n_head: usize,
    /// Number of channels C.
    pub n_embd: usize,
    /// Dropout probability on attention weights and on the outputs of both layers.
    pub dropout: f64,
    /// Form of the GELU activation.
    pub gelu: Gelu,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
}

impl BlockConfig {
    /// Standard deviation of initial weights, as in GPT-2.
    pub const INIT_STD: f64 = 0.02;

    /// Initial standard deviation of the layers that add to the residual stream: with 2 of them in
    /// each of n_layer blocks, dividing by √(2 n_layer) keeps the variance of their sum (Radford et
    /// al. 2019, 2.3).
    pub fn residual_std(&self) -> f64 {
        Self::INIT_STD / (2. * self.n_layer as f64).sqrt()
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// When the channels are not divisible by the number of heads.
    pub fn check(&self) -> Result<()> {
        let Self { n_head, n_embd, .. } = *self;
        if n_head == 0 || n_embd == 0 || n_embd % n_head != 0 {
            bail!("n_embd {n_embd} is not divisible by n_head {n_head}");
        }
        Ok(())
    }
}
