//! A table of vectors, one per id.

use candle_core::{Result, Tensor};

use crate::{Init, Scope, Weight, WeightDecay};

/// A learned vector for each of `V` ids.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// (V, C)
    pub weight: Weight,
}

impl Embedding {
    /// A table of `n_ids` vectors of `n_embd` numbers; parameter `weight`, never decayed.
    pub fn new(mut scope: Scope<'_>, n_ids: usize, n_embd: usize, init: Init) -> Result<Self> {
        Ok(Self { weight: scope.matrix("weight", (n_ids, n_embd), init, WeightDecay::No)? })
    }

    /// The vectors of `ids: (..)`, as `(.., C)`.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.weight.embedding(ids)
    }

    /// How well `x: (.., C)` agrees with each vector, `(.., V)`: an output layer that is tied to the input.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.linear(x, None)
    }
}
