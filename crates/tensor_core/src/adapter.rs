//! LoRA adapter: a low-rank correction of a linear layer (Hu et al.,
//! <https://arxiv.org/abs/2106.09685>), y = x Wᵀ + b + s · (x Aᵀ) Bᵀ.
//!
//! A layer uses an adapter if its parameters have one: see
//! [`Parameters::add_adapter`](crate::Parameters::add_adapter).

use candle_core::{Module, Result, Tensor};

use crate::{Dropout, ops};

/// Scale and dropout of an adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraScaling {
    /// Scale s = α / R of the correction.
    pub scale: f64,
    /// Dropout probability of the adapter's input in training.
    pub dropout: f64,
}

/// Low-rank correction of one layer.
#[derive(Debug, Clone)]
pub struct LoraAdapter {
    /// Matrix A: (R, in).
    pub lora_a: Tensor,
    /// Matrix B: (out, R).
    pub lora_b: Tensor,
    /// Scale s.
    pub scale: f64,
    /// Dropout on the input of A.
    pub dropout: Dropout,
}

impl LoraAdapter {}

impl Module for LoraAdapter {
    /// Correction s · (x Aᵀ) Bᵀ for `x: (.., in)`: (.., out).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = ops::linear(&self.dropout.forward(x)?, &self.lora_a, None)?; // (.., R)
        ops::linear(&inner, &self.lora_b, None)? * self.scale // (.., out)
    }
}
