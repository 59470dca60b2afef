//! One named tensor of a model: how it began, and what training may do to it.

use candle_core::{DType, Result, Tensor, Var};

/// How a new parameter is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All 0: biases.
    Zeros,
    /// All 1: the scale of a norm.
    Ones,
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform between -bound and +bound.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
}

/// Whether weight decay pulls a parameter towards 0: yes for matrices, no for norms, biases and embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDecay {
    /// The optimiser's weight decay applies.
    Yes,
    /// The optimiser's weight decay does not apply.
    No,
}

/// One named tensor of a model.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Path in the model, for example `h.0.attn.c_attn.weight`.
    pub name: String,
    /// The values; a clone shares them.
    pub var: Var,
    /// Whether weight decay applies.
    pub weight_decay: WeightDecay,
    /// Frozen parameters get no gradient and no update.
    pub trainable: bool,
}

impl Parameter {
    /// The tensor that a model computes with, rounded to `dtype`: tracked by the graph only if trainable.
    pub(super) fn tensor(&self, dtype: DType) -> Result<Tensor> {
        match self.trainable {
            true => self.var.to_dtype(dtype),
            false => self.var.as_detached_tensor().to_dtype(dtype),
        }
    }
}
