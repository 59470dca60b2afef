//! Dropout layer: gives [`ops::dropout`](fn@crate::ops::dropout) seeds from the model's dropout
//! stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Module, Result, Tensor};
use rand::RngCore;

use crate::{Rng, ops};

/// Seeded dropout layer, made by [`crate::Scope::dropout`]. The identity in inference copies.
#[derive(Debug, Clone)]
pub struct Dropout {
    probability: f64,
    rng: Option<Arc<Mutex<Rng>>>,
}

impl Dropout {
    /// Layer that never drops anything.
    pub fn disabled() -> Self {
        Self { probability: 0., rng: None }
    }

    pub(crate) fn new(probability: f64, rng: Option<Arc<Mutex<Rng>>>) -> Self {
        Self { probability, rng }
    }

    /// True if this layer changes its input.
    pub fn is_active(&self) -> bool {
        self.rng.is_some() && self.probability > 0.
    }

    /// State of the random stream, from which the next mask will be generated; of a layer of
    /// probability 0, too, because other layers, such as adapters, share the stream.
    pub(crate) fn rng_state(&self) -> Option<Rng> {
        self.rng.as_deref().map(|rng| lock(rng).clone())
    }

    /// Runs `f` with the random stream set to `state`, then restores the stream.
    pub(crate) fn with_rng_state<R>(&self, state: Option<Rng>, f: impl FnOnce() -> R) -> R {
        let (Some(rng), Some(state)) = (&self.rng, state) else {
            return f();
        };
        let saved = std::mem::replace(&mut *lock(rng), state);
        let result = f();
        *lock(rng) = saved;
        result
    }
}

impl Module for Dropout {
    /// Dropout of `x`, of any shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.rng, self.is_active()) {
            (Some(rng), true) => ops::dropout(x, self.probability, lock(rng).next_u64()),
            _ => Ok(x.clone()),
        }
    }
}

/// Locks the stream. A poisoned lock only means that another thread panicked: four words of state
/// cannot be half-written.
pub(crate) fn lock(rng: &Mutex<Rng>) -> MutexGuard<'_, Rng> {
    rng.lock().unwrap_or_else(PoisonError::into_inner)
}
