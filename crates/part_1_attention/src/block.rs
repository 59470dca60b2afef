//! 1.6 The transformer block, pre-norm as in GPT-2: x ← x + Attention(LN₁(x)), then x ← x + FFN(LN₂(x)).
//!
//! Each layer adds to what is there instead of replacing it, so gradients reach the lowest layer undiminished; the
//! norm comes before each layer (Xiong et al., <https://arxiv.org/abs/2002.04745>) and keeps its input in scale.

use candle_core::{Result, Tensor, bail};
use tensor_core::ops::{Gelu, add};
use tensor_core::{LayerNorm, Scope};

use crate::{FeedForward, MultiHeadAttention};

/// The sizes of a block and of the stack it stands in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockConfig {
    /// Blocks in the stack: the more there are, the smaller each one's first contribution.
    pub n_layer: usize,
    /// H
    pub n_head: usize,
    /// C
    pub n_embd: usize,
    /// Probability of dropout on attention weights and on both outputs.
    pub dropout: f64,
    /// Form of the activation.
    pub gelu: Gelu,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
}

impl BlockConfig {
    /// Standard deviation of fresh weights, GPT-2's.
    pub const INIT_STD: f64 = 0.02;

    /// Standard deviation of the layers that add to the residual stream: with 2 of them in each of n_layer blocks,
    /// dividing by √(2 n_layer) keeps the variance of their sum (Radford et al. 2019, 2.3).
    pub fn residual_std(&self) -> f64 {
        Self::INIT_STD / (2. * self.n_layer as f64).sqrt()
    }

    /// # Errors
    /// When the channels cannot be divided among the heads.
    pub fn check(&self) -> Result<()> {
        let Self { n_head, n_embd, .. } = *self;
        if n_head == 0 || n_embd == 0 || n_embd % n_head != 0 {
            bail!("n_embd {n_embd} cannot be divided among {n_head} heads");
        }
        Ok(())
    }
}

/// A pre-norm transformer block, parameters named as GPT-2's.
#[derive(Debug, Clone)]
pub struct Block {
    ln_1: LayerNorm,
    attn: MultiHeadAttention,
    ln_2: LayerNorm,
    mlp: FeedForward,
}

impl Block {
    /// Parameters `ln_1`, `attn`, `ln_2` and `mlp`.
    pub fn new(mut scope: Scope<'_>, config: &BlockConfig) -> Result<Self> {
        let (c, eps) = (config.n_embd, config.layer_norm_eps);
        Ok(Self {
            ln_1: LayerNorm::new(scope.at("ln_1"), c, eps)?,
            attn: MultiHeadAttention::new(scope.at("attn"), config)?,
            ln_2: LayerNorm::new(scope.at("ln_2"), c, eps)?,
            mlp: FeedForward::new(scope.at("mlp"), config)?,
        })
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`; row t depends on rows 0 to t alone.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = add(x, &self.attn.forward(&self.ln_1.forward(x)?)?)?;
        add(&x, &self.mlp.forward(&self.ln_2.forward(&x)?)?)
    }

    /// The attention weights that [`Block::forward`] would use on `x: (B, T, C)`: (B, H, T, T).
    pub fn attention_weights(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.attn.trace(&self.ln_1.forward(x)?)?.weights)
    }
}
