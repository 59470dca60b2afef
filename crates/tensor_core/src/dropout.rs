//! Dropout: while training, each number is set to 0 with probability p and the others grow by 1/(1-p)
//! (Srivastava et al., <https://jmlr.org/papers/v15/srivastava14a.html>).

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor};

use crate::Rng;

/// A seeded dropout layer. Made by [`crate::Scope::dropout`]; the twin for inference passes everything through.
#[derive(Debug, Clone)]
pub struct Dropout {
    probability: f64,
    rng: Option<Arc<Mutex<Rng>>>,
}

impl Dropout {
    pub(crate) fn new(probability: f64, rng: Option<Arc<Mutex<Rng>>>) -> Self {
        Self { probability, rng }
    }

    /// Whether this layer ever changes its input.
    pub fn is_active(&self) -> bool {
        self.rng.is_some() && self.probability > 0.
    }

    /// `x` of any shape with some of its numbers dropped.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (Some(rng), true) = (&self.rng, self.is_active()) else {
            return Ok(x.clone());
        };
        // A poisoned lock only means that another thread panicked: four words of state cannot be half-written.
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = (1. / (1. - self.probability)) as f32;
        let draw = |_| if rng.uniform() < self.probability { 0. } else { kept };
        let mask: Vec<f32> = (0..x.elem_count()).map(draw).collect();
        x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?
    }
}
