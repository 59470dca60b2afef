//! Layer normalization with a learned scale and shift (Ba, Kiros and Hinton,
//! <https://arxiv.org/abs/1607.06450>).

use candle_core::{Module, Result, Tensor};

use crate::{Init, Scope, WeightDecay, ops};

/// Normalizes every row to mean 0 and variance 1, then scales and shifts it.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor, // (C)
    bias: Tensor,   // (C)
    eps: f64,
}

impl LayerNorm {
    /// Norm over rows of `n_embd` channels; parameters `weight` and `bias`.
    pub fn new(mut scope: Scope<'_>, n_embd: usize, eps: f64) -> Result<Self> {
        let weight = scope.parameter("weight", n_embd, Init::Ones, WeightDecay::No)?;
        let bias = scope.parameter("bias", n_embd, Init::Zeros, WeightDecay::No)?;
        Ok(Self { weight, bias, eps })
    }
}

impl Module for LayerNorm {
    /// Normalizes each row of `x: (.., C)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}
