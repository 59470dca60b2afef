//! The feed-forward layer of a block, as a trait: a dense layer in this part, a mixture of experts
//! in part 5.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::swiglu::FeedForward;

/// Position-wise layer of a block.
pub trait FeedForwardLayer: fmt::Debug + Send + Sync {
    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token on its own. Appends the tensors that an
    /// auxiliary loss needs to `aux_outputs`: a fixed number per layer, with gradient.
    fn forward(&self, x: &Tensor, aux_outputs: &mut Vec<Tensor>) -> Result<Tensor>;
}

impl FeedForwardLayer for FeedForward {
    fn forward(&self, x: &Tensor, _aux_outputs: &mut Vec<Tensor>) -> Result<Tensor> {
        self.forward(x)
    }
}
