//! Views of the same parameters: for inference, and for computing in a lower precision.

use std::collections::BTreeSet;

use candle_core::DType;

use super::{Parameters, Source};
use crate::Rng;
use crate::dropout::lock;

impl Parameters {
    /// View of the same memory for inference: no graph is built, no dropout is applied.
    pub fn for_inference(&self) -> Self {
        let mut view = self.with_compute_dtype(self.dtype);
        view.entries.iter_mut().for_each(|parameter| parameter.trainable = false);
        Self { dropout_rng: None, ..view }
    }

    /// View of the same memory for a model that computes in `dtype`. The model gets the current
    /// values rounded, so build it again after each optimizer step; its gradients flow back to the
    /// parameters in their own dtype (mixed precision with master weights).
    pub fn with_compute_dtype(&self, dtype: DType) -> Self {
        Self {
            entries: self.entries.clone(),
            index: self.index.clone(),
            source: Source::Shared,
            dtype,
            device: self.device.clone(),
            quantized: self.quantized.clone(),
            unclaimed: BTreeSet::new(),
            linear_layers: self.linear_layers.clone(),
            adapters: self.adapters.clone(),
            dropout_rng: self.dropout_rng.clone(),
        }
    }

    /// State of the dropout stream; `None` for inference.
    pub fn dropout_rng(&self) -> Option<Rng> {
        self.dropout_rng.as_deref().map(|rng| lock(rng).clone())
    }

    /// Sets the dropout stream of these parameters and of all views of the same memory.
    pub fn set_dropout_rng(&self, state: Rng) {
        if let Some(rng) = &self.dropout_rng {
            *lock(rng) = state;
        }
    }
}
