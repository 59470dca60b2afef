//! The seat in a block after attention. This part fills it with a feed-forward layer, part 5 with experts.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::swiglu::FeedForward;

/// A layer that works on each token alone.
pub trait FeedForwardLayer: fmt::Debug + Send + Sync {
    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token on its own. What a loss should see of the way there goes to `notes`,
    /// always as many tensors, with their gradients.
    fn forward(&self, x: &Tensor, notes: &mut Vec<Tensor>) -> Result<Tensor>;
}

impl FeedForwardLayer for FeedForward {
    fn forward(&self, x: &Tensor, _notes: &mut Vec<Tensor>) -> Result<Tensor> {
        self.forward(x)
    }
}
