//! 5.3 The hybrid layer: α · dense(x) + (1 − α) · experts(x). The dense branch learns what all
//! tokens need, and the experts specialize; α = 0 is the MoE layer, α = 1 the dense layer.

use candle_core::{Module, Result, Tensor};
use modern::FeedForwardLayer;
use modern::swiglu::FeedForward;
use tensor_core::ops::add;

use crate::moe_layer::MoeLayer;

/// Weighted sum of a dense layer and an MoE layer.
#[derive(Debug, Clone)]
pub struct Hybrid {
    /// Dense branch, applied to every token.
    pub dense: FeedForward,
    /// MoE branch.
    pub experts: MoeLayer,
    /// Weight α of the dense branch.
    pub dense_weight: f64,
}

impl FeedForwardLayer for Hybrid {
    fn forward_with_aux_outputs(
        &self,
        x: &Tensor,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let dense = (self.dense.forward(x)? * self.dense_weight)?; // (B, T, C)
        let experts = self.experts.forward_scaled(x, 1. - self.dense_weight, aux_outputs)?;
        add(&dense, &experts)
    }
}
