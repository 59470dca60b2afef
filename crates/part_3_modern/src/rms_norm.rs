//! 3.1 RMSNorm (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>): layer norm without mean
//! subtraction and bias.
//!
//! y = x / √(mean(x²) + ε) · weight. Rescaling keeps activations in range; subtracting the mean
//! adds little for its cost. Gemma 1 to 3 store weight − 1.

use candle_core::{D, Module, Result, Tensor};
use model_io::config;
use tensor_core::{Init, LayerNorm, Scope, WeightDecay, at_least_f32, in_f32, ops};

// ANCHOR: rms_norm
/// RMSNorm of `x: (.., C)`, scaled by `weight: (C)`. Reference for the fused [`ops::rms_norm()`].
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
}
// ANCHOR_END: rms_norm

/// Learned norm over the last dimension.
#[derive(Debug, Clone)]
pub enum Norm {
    /// RMSNorm.
    Rms {
        /// Scale (C).
        weight: Tensor,
        /// ε under the root.
        eps: f64,
    },
    /// RMSNorm with scale 1 + weight.
    ZeroCenteredRms {
        /// Scale − 1 (C).
        weight: Tensor,
        /// ε under the root.
        eps: f64,
    },
    /// Layer norm of part 1.
    Layer(LayerNorm),
}

impl Norm {
    /// Norm over rows of `width` numbers, with parameter `weight` (and `bias` for a layer norm).
    pub fn new(mut scope: Scope<'_>, width: usize, kind: config::NormKind) -> Result<Self> {
        match kind {
            config::NormKind::Rms { eps } => {
                let weight = scope.parameter("weight", width, Init::Ones, WeightDecay::No)?;
                Ok(Self::Rms { weight, eps })
            }
            config::NormKind::ZeroCenteredRms { eps } => {
                let weight = scope.parameter("weight", width, Init::Zeros, WeightDecay::No)?;
                Ok(Self::ZeroCenteredRms { weight, eps })
            }
            config::NormKind::Layer { eps } => Ok(Self::Layer(LayerNorm::new(scope, width, eps)?)),
        }
    }
}

impl Module for Norm {
    /// Normalizes each row of `x: (.., C)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms { weight, eps } => ops::rms_norm(x, weight, *eps),
            // 1 + weight has more digits than weight.
            Self::ZeroCenteredRms { weight, eps } => {
                in_f32(x, |x| ops::rms_norm(x, &(at_least_f32(weight)? + 1.)?, *eps))
            }
            Self::Layer(norm) => norm.forward(x),
        }
    }
}
