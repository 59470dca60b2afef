//! A linear layer: y = x Wᵀ + b.

use candle_core::{Result, Tensor};

use crate::ops;
use crate::{Init, LoraAdapter, Scope, Weight, WeightDecay};

/// Whether a linear layer adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Adds a learned vector, 0 at first.
    Yes,
    /// A plain matrix product.
    No,
}

/// A learned map of the last dimension.
#[derive(Debug, Clone)]
pub struct Linear {
    /// (out, in), as PyTorch stores it.
    pub weight: Weight,
    /// (out)
    pub bias: Option<Tensor>,
    /// What is added to the map where the store has an adapter for this layer.
    pub adapter: Option<LoraAdapter>,
}

impl Linear {
    /// A layer from `n_in` to `n_out` features; parameters `weight` and `bias`.
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

    /// Maps `x: (.., in)` to `(.., out)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.weight.linear(x, self.bias.as_ref())?;
        match &self.adapter {
            Some(adapter) => ops::add(&y, &adapter.forward(x)?),
            None => Ok(y),
        }
    }
}
