//! 1.5 Feed-forward layer: attention moves information between tokens, this layer works on each
//! token alone.
//!
//! FFN(x) = W₂ · GELU(W₁ x + b₁) + b₂, with four times as many channels inside.

use candle_core::{Module, Result, Tensor};
use tensor_core::ops::{Gelu, gelu};
use tensor_core::{Bias, Dropout, Init, Linear, Scope};

use crate::BlockConfig;

/// Two linear layers with GELU between them; parameters are named as in GPT-2.
#[derive(Debug, Clone)]
pub struct FeedForward {
    c_fc: Linear,   // C -> 4C
    c_proj: Linear, // 4C -> C
    gelu: Gelu,
    dropout: Dropout,
}

impl FeedForward {
    /// Layer with the parameters `c_fc` (C to 4C) and `c_proj` (4C to C), both with bias.
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
}

impl Module for FeedForward {
    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token independently.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = gelu(&self.c_fc.forward(x)?, self.gelu)?; // (B, T, 4C)
        self.dropout.forward(&self.c_proj.forward(&hidden)?)
    }
}
