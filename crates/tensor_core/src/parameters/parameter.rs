//! Parameter: one named tensor of a model, with its initialization and its training flags.

use candle_core::{DType, Result, Tensor, Var};

/// Initialization of a new parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All 0: biases.
    Zeros,
    /// All 1: scales of norms.
    Ones,
    /// All the same.
    Constant {
        /// Value of each element.
        value: f64,
    },
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

/// Weight decay of a parameter: yes for matrices; no for norms, biases and embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDecay {
    /// The optimizer's weight decay applies.
    Yes,
    /// The optimizer's weight decay does not apply.
    No,
}

/// One named tensor of a model.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Path in the model, for example `h.0.attn.c_attn.weight`.
    pub name: String,
    /// Values; a clone shares them.
    pub var: Var,
    /// Weight decay: applied or not.
    pub weight_decay: WeightDecay,
    /// True unless frozen. Frozen parameters get no gradient and no update.
    pub trainable: bool,
}

impl Parameter {
    /// Tensor that a model computes with, rounded to `dtype`. Part of the graph only if trainable.
    pub(super) fn tensor(&self, dtype: DType) -> Result<Tensor> {
        match self.trainable {
            true => self.var.to_dtype(dtype),
            false => self.var.as_detached_tensor().to_dtype(dtype),
        }
    }
}
