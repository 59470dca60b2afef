//! Other views of the same memory: for use without training, and for computing in fewer bits than are kept.

use std::collections::BTreeSet;

use candle_core::DType;

use super::{Parameters, Source};
use crate::Rng;
use crate::dropout::lock;

impl Parameters {
    /// The same memory for use without training: no graph is built, nothing is dropped out.
    pub fn for_inference(&self) -> Self {
        let mut twin = self.with_compute_dtype(self.dtype);
        twin.entries.iter_mut().for_each(|parameter| parameter.trainable = false);
        Self { dropout_rng: None, ..twin }
    }

    /// The same memory for a model that computes in `dtype`: it gets the numbers rounded, as they are now (so build it
    /// anew after each step), and its gradients come back to the numbers as they are kept.
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

    /// Where dropout's random stream stands; `None` where nothing is dropped.
    pub fn dropout_rng(&self) -> Option<Rng> {
        self.dropout_rng.as_deref().map(|rng| lock(rng).clone())
    }

    /// Sets dropout's random stream, of this store and of all that share its memory.
    pub fn set_dropout_rng(&self, stream: Rng) {
        if let Some(rng) = &self.dropout_rng {
            *lock(rng) = stream;
        }
    }
}
