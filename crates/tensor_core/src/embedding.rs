//! Embedding table: one vector per id.

use candle_core::{Module, Result, Tensor};

use crate::{Init, Scope, Weight, WeightDecay};

/// Learned vector for each of `V` ids.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// Table (V, C).
    pub weight: Weight,
}

impl Embedding {
    /// Table of `n_ids` vectors of `n_embd` channels; parameter `weight`, without weight decay.
    pub fn new(mut scope: Scope<'_>, n_ids: usize, n_embd: usize, init: Init) -> Result<Self> {
        Ok(Self { weight: scope.matrix("weight", (n_ids, n_embd), init, WeightDecay::No)? })
    }

    /// Logits `(.., V)` of `x: (.., C)`: the dot product with every vector, for an output layer
    /// tied to the input embedding.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.linear(x, None)
    }
}

impl Module for Embedding {
    /// Vectors of `ids: (..)`, as `(.., C)`.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.weight.embedding(ids)
    }
}
