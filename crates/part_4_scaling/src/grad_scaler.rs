//! 4.2 Loss scaling: f16 ends at 65,504 above and at 6·10⁻⁸ below, and small gradients fall through that floor to 0.
//!
//! So the loss is multiplied by S before it is differentiated and the gradients, in f32, are divided by S afterwards
//! (Micikevicius et al., <https://arxiv.org/abs/1710.03740>). S is as large as it can be: it doubles after a stretch of
//! good steps, and where a gradient overflowed it halves and the step is not taken. bf16 has the range of f32 and needs
//! none of this.

use anyhow::{Result, ensure};
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};
use tensor_core::Parameters;

/// Good steps before S doubles.
const GROWTH_INTERVAL: usize = 2000;
/// 2¹⁶, from where it usually comes down within the first steps.
const INIT_SCALE: f64 = 65_536.;
/// f32 gradients take this, and f16 ones overflow long before.
const MAX_SCALE: f64 = 16_777_216.;

/// The scale S of the loss.
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
    /// S
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Divides the gradients by S: before they are measured or clipped.
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

    /// Whether a step whose gradients have this norm may be taken; S moves accordingly.
    ///
    /// # Errors
    /// When gradients overflow even unscaled: no S can help.
    pub fn update(&mut self, norm: f64) -> Result<bool> {
        if norm.is_finite() {
            self.good_steps += 1;
            if self.good_steps == GROWTH_INTERVAL {
                *self = Self { scale: (2. * self.scale).min(MAX_SCALE), good_steps: 0 };
            }
            return Ok(true);
        }
        ensure!(
            self.scale > 1.,
            "the gradients overflow f16 even unscaled: use --dtype bf16 or f32, or a smaller --lr"
        );
        *self = Self { scale: self.scale / 2., good_steps: 0 };
        Ok(false)
    }
}
