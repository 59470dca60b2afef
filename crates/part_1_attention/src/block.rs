//! 1.6 Transformer block, pre-norm as in GPT-2: x ← x + Attention(LN₁(x)), then x ← x +
//! FFN(LN₂(x)).
//!
//! Each layer adds to the residual stream instead of replacing it, so gradients reach the lowest
//! layer undiminished. The norm before each layer (Xiong et al.,
//! <https://arxiv.org/abs/2002.04745>) keeps the scale of its input: LN(x) = (x − mean) /
//! √(variance + ε) · weight + bias, over the channels of each token.

use candle_core::{Module, Result, Tensor};
use tensor_core::ops::add;
use tensor_core::{LayerNorm, Scope};

use crate::{BlockConfig, FeedForward, MultiHeadAttention};

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

    /// Attention weights of [`Block::forward`] on `x: (B, T, C)`: (B, H, T, T).
    pub fn attention_weights(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.attn.trace(&self.ln_1.forward(x)?)?.weights)
    }
}

// ANCHOR: forward
impl Module for Block {
    /// Maps `x: (B, T, C)` to `(B, T, C)`; row t depends only on rows 0 to t.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = add(x, &self.attn.forward(&self.ln_1.forward(x)?)?)?;
        add(&x, &self.mlp.forward(&self.ln_2.forward(&x)?)?)
    }
}
// ANCHOR_END: forward
