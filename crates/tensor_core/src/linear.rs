//! Linear layer: y = x Wᵀ + b.

use candle_core::{Module, Result, Tensor};

use crate::{Init, LoraAdapter, Scope, Weight, WeightDecay};

/// Presence of a bias in a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Learned bias, initialized to 0.
    Yes,
    /// No bias.
    No,
}

/// Linear layer on the last dimension.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Weight (out, in), as PyTorch stores it.
    pub weight: Weight,
    /// Bias (out).
    pub bias: Option<Tensor>,
    /// LoRA or DoRA adapter of the layer, if the parameters have one for this layer.
    pub adapter: Option<LoraAdapter>,
}

impl Linear {
    /// Layer from `n_in` to `n_out` features; parameters `weight` and `bias`.
    pub fn new(
        mut scope: Scope<'_>,
        n_in: usize,
        n_out: usize,
        bias: Bias,
        init: Init,
    ) -> Result<Self> {
        let weight = scope.matrix("weight", (n_out, n_in), init, WeightDecay::Yes)?;
        let bias = match bias {
            Bias::Yes => Some(scope.parameter("bias", n_out, Init::Zeros, WeightDecay::No)?),
            Bias::No => None,
        };
        Ok(Self { weight, bias, adapter: scope.adapter((n_out, n_in))? })
    }
}

impl Module for Linear {
    /// Maps `x: (.., in)` to `(.., out)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.adapter {
            Some(adapter) => adapter.forward(x, &self.weight, self.bias.as_ref()),
            None => self.weight.linear(x, self.bias.as_ref()),
        }
    }
}
