//! 4.2 Loss scaling: f16 ranges from 6·10⁻⁸ to 65,504, and smaller gradients underflow to 0.
//!
//! The loss is therefore multiplied by S before the backward pass, and the gradients, in f32, are
//! divided by S afterwards (Micikevicius et al., <https://arxiv.org/abs/1710.03740>). S is adjusted
//! to be as large as possible: it doubles after 2000 steps without overflow; at an overflow it
//! halves and the step is skipped. bf16 has the range of f32 and does not need loss scaling.

use anyhow::{Result, ensure};
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};
use tensor_core::Parameters;

/// Consecutive steps without overflow after which S doubles.
const GROWTH_INTERVAL: usize = 2000;
/// Initial scale, 2¹⁶, which is usually lowered within the first steps.
const INIT_SCALE: f64 = 65_536.;
/// Maximum scale, 2²⁴: safe for f32 gradients, and f16 overflows long before.
const MAX_SCALE: f64 = 16_777_216.;

/// Dynamic loss scale S.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradScaler {
    scale: f64,
    good_steps: usize,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self { scale: INIT_SCALE, good_steps: 0 }
    }
}

impl GradScaler {
    /// Current loss scale S.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Divides the gradients by S. Call it before their norm is computed or clipped.
    ///
    /// # Errors
    /// When memory is short.
    pub fn unscale(&self, grads: &mut GradStore, parameters: &Parameters) -> Result<()> {
        for parameter in parameters.trainable() {
            let variable = parameter.var.as_tensor();
            if let Some(grad) = grads.remove(variable) {
                grads.insert(variable, (grad / self.scale)?);
            }
        }
        Ok(())
    }

    /// Updates S from the gradient norm of a step; returns false if the step must be skipped
    /// because the gradients overflowed.
    ///
    /// # Errors
    /// When the gradients overflow even with S = 1.
    pub fn update(&mut self, grad_norm: f64) -> Result<bool> {
        if grad_norm.is_finite() {
            self.good_steps += 1;
            if self.good_steps == GROWTH_INTERVAL {
                *self = Self { scale: (2. * self.scale).min(MAX_SCALE), good_steps: 0 };
            }
            return Ok(true);
        }
        ensure!(
            self.scale > 1.,
            "the gradients overflow f16 even without loss scaling: \
             use --dtype bf16 or f32, or a smaller --lr"
        );
        *self = Self { scale: self.scale / 2., good_steps: 0 };
        Ok(false)
    }
}
