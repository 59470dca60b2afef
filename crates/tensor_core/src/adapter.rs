//! A low-rank correction of a linear layer (Hu et al., <https://arxiv.org/abs/2106.09685>): y = x Wᵀ + b + s · (x Aᵀ) Bᵀ.
//!
//! A layer gets one where its store has one: see
//! [`Parameters::add_adapter`](crate::Parameters::add_adapter).

use candle_core::{Result, Tensor};

use crate::{Dropout, ops};

/// How an adapter is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraScaling {
    /// s
    pub scale: f64,
    /// Probability with which a number of x is dropped before A, in training.
    pub dropout: f64,
}

/// The correction of one layer.
#[derive(Debug, Clone)]
pub struct LoraAdapter {
    /// A: (R, in)
    pub lora_a: Tensor,
    /// B: (out, R)
    pub lora_b: Tensor,
    /// s
    pub scale: f64,
    /// Of x.
    pub dropout: Dropout,
}

impl LoraAdapter {
    /// What it adds for `x: (.., in)`: (.., out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = ops::linear(&self.dropout.forward(x)?, &self.lora_a, None)?; // (.., R)
        ops::linear(&inner, &self.lora_b, None)? * self.scale // (.., out)
    }
}
