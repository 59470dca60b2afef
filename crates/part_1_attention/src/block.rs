//! 1.6 Transformer block, pre-norm as in GPT-2: x ← x + Attention(LN₁(x)), then x ← x +
//! FFN(LN₂(x)).
//!
//! Each layer adds to the residual stream instead of replacing it, so gradients reach the lowest
//! layer undiminished. The norm before each layer (Xiong et al.,
//! <https://arxiv.org/abs/2002.04745>) keeps the scale of its input.

use candle_core::{Result, Tensor, bail};
use tensor_core::ops::{Gelu, add};
use tensor_core::{LayerNorm, Scope};

use crate::{FeedForward, MultiHeadAttention};

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

/// Pre-norm transformer block; parameters are named as in GPT-2.
#[derive(Debug, Clone)]
pub struct Block {
    ln_1: LayerNorm,
    attn: MultiHeadAttention,
    ln_2: LayerNorm,
    mlp: FeedForward,
}

impl Block {
    /// Block with the parameters `ln_1`, `attn`, `ln_2` and `mlp`.
    pub fn new(mut scope: Scope<'_>, config: &BlockConfig) -> Result<Self> {
        let (c, eps) = (config.n_embd, config.layer_norm_eps);
        Ok(Self {
            ln_1: LayerNorm::new(scope.at("ln_1"), c, eps)?,
            attn: MultiHeadAttention::new(scope.at("attn"), config)?,
            ln_2: LayerNorm::new(scope.at("ln_2"), c, eps)?,
            mlp: FeedForward::new(scope.at("mlp"), config)?,
        })
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`; row t depends only on rows 0 to t.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = add(x, &self.attn.forward(&self.ln_1.forward(x)?)?)?;
        add(&x, &self.mlp.forward(&self.ln_2.forward(&x)?)?)
    }

    /// Attention weights of [`Block::forward`] on `x: (B, T, C)`: (B, H, T, T).
    pub fn attention_weights(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.attn.trace(&self.ln_1.forward(x)?)?.weights)
    }
}
