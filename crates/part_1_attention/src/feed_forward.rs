//! 1.5 The feed-forward layer: attention moves information between tokens, this layer works on each token alone.
//!
//! FFN(x) = W₂ · GELU(W₁ x + b₁) + b₂, four times as wide inside as outside.

use candle_core::{Result, Tensor};
use tensor_core::ops::{Gelu, gelu};
use tensor_core::{Bias, Dropout, Init, Linear, Scope};

use crate::BlockConfig;

/// Two linear layers with GELU between them, parameters named as GPT-2's.
#[derive(Debug, Clone)]
pub struct FeedForward {
    c_fc: Linear,   // C -> 4C
    c_proj: Linear, // 4C -> C
    gelu: Gelu,
    dropout: Dropout,
}

impl FeedForward {
    /// Parameters `c_fc` (C to 4C) and `c_proj` (4C to C), both with bias.
    pub fn new(mut scope: Scope<'_>, config: &BlockConfig) -> Result<Self> {
        let c = config.n_embd;
        let normal = |std| Init::Normal { std };
        Ok(Self {
            c_fc: Linear::new(
                scope.at("c_fc"),
                c,
                4 * c,
                Bias::Yes,
                normal(BlockConfig::INIT_STD),
            )?,
            c_proj: Linear::new(
                scope.at("c_proj"),
                4 * c,
                c,
                Bias::Yes,
                normal(config.residual_std()),
            )?,
            gelu: config.gelu,
            dropout: scope.dropout(config.dropout),
        })
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token on its own.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = gelu(&self.c_fc.forward(x)?, self.gelu)?; // (B, T, 4C)
        self.dropout.forward(&self.c_proj.forward(&inner)?)
    }
}
