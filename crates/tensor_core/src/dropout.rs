//! Dropout as a layer: seeds for [`ops::dropout`](fn@crate::ops::dropout) from the model's own stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Result, Tensor};

use crate::{Rng, ops};

/// A seeded dropout layer. Made by [`crate::Scope::dropout`]; the twin for inference passes everything through.
#[derive(Debug, Clone)]
pub struct Dropout {
    probability: f64,
    rng: Option<Arc<Mutex<Rng>>>,
}

impl Dropout {
    /// A layer that passes everything through.
    pub fn disabled() -> Self {
        Self { probability: 0., rng: None }
    }

    pub(crate) fn new(probability: f64, rng: Option<Arc<Mutex<Rng>>>) -> Self {
        Self { probability, rng }
    }

    /// Whether this layer ever changes its input.
    pub fn is_active(&self) -> bool {
        self.rng.is_some() && self.probability > 0.
    }

    /// `x` of any shape with some of its numbers dropped.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.rng, self.is_active()) {
            (Some(rng), true) => ops::dropout(x, self.probability, lock(rng).next_u64()),
            _ => Ok(x.clone()),
        }
    }

    /// What it will draw next.
    pub(crate) fn stream(&self) -> Option<Rng> {
        self.is_active().then(|| self.rng.as_deref().map(|rng| lock(rng).clone())).flatten()
    }

    /// Runs `f` while numbers are drawn from `stream` on; then they go on where they were.
    pub(crate) fn replay<R>(&self, stream: Option<Rng>, f: impl FnOnce() -> R) -> R {
        let (Some(rng), Some(stream)) = (&self.rng, stream) else {
            return f();
        };
        let later = std::mem::replace(&mut *lock(rng), stream);
        let result = f();
        *lock(rng) = later;
        result
    }
}

/// A poisoned lock only means that another thread panicked: four words of state cannot be half-written.
pub(crate) fn lock(rng: &Mutex<Rng>) -> MutexGuard<'_, Rng> {
    rng.lock().unwrap_or_else(PoisonError::into_inner)
}
