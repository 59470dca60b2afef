//! 3.1 RMSNorm (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>): layer norm without its mean and its shift.
//!
//! y = x / √(mean(x²) + ε) · weight. What the mean took away was hardly worth its cost; the scale is what keeps
//! activations in range.

use candle_core::{D, Result, Tensor};
use tensor_core::{Init, LayerNorm, Scope, WeightDecay, ops};

use crate::config;

/// The lesson: RMSNorm of `x: (.., C)` in plain steps, scaled by `weight: (C)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
}

/// A learned norm over the last dimension.
#[derive(Debug, Clone)]
pub enum Norm {
    /// This section's.
    Rms {
        /// (C)
        weight: Tensor,
        /// ε
        eps: f64,
    },
    /// Part 1's.
    Layer(LayerNorm),
}

impl Norm {
    /// A norm over rows of `width` numbers; parameter `weight`, and `bias` for a layer norm.
    pub fn new(mut scope: Scope<'_>, width: usize, kind: config::NormKind) -> Result<Self> {
        match kind {
            config::NormKind::Rms { eps } => {
                let weight = scope.parameter("weight", width, Init::Ones, WeightDecay::No)?;
                Ok(Self::Rms { weight, eps })
            }
            config::NormKind::Layer { eps } => Ok(Self::Layer(LayerNorm::new(scope, width, eps)?)),
        }
    }

    /// Normalises each row of `x: (.., C)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms { weight, eps } => ops::rms_norm(x, weight, *eps),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}
