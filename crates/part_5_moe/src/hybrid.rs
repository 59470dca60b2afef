//! 5.3 The hybrid: α · dense(x) + (1 − α) · experts(x). What all tokens need is learned once, in the dense layer, and the
//! experts learn the rest; with α = 0 or 1 it is one of the two.

use candle_core::{Result, Tensor};
use modern::FeedForwardLayer;
use modern::swiglu::FeedForward;
use tensor_core::ops::add;

use crate::moe_layer::MoeLayer;

/// A dense layer and experts, blended.
#[derive(Debug, Clone)]
pub struct Hybrid {
    /// What every token passes.
    pub dense: FeedForward,
    /// What some tokens pass.
    pub experts: MoeLayer,
    /// α
    pub dense_weight: f64,
}

impl FeedForwardLayer for Hybrid {
    fn forward(&self, x: &Tensor, notes: &mut Vec<Tensor>) -> Result<Tensor> {
        let dense = (self.dense.forward(x)? * self.dense_weight)?; // (B, T, C)
        let experts = self.experts.forward_scaled(x, 1. - self.dense_weight, notes)?;
        add(&dense, &experts)
    }
}
