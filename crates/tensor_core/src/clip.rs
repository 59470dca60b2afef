//! Gradient clipping by global norm (Pascanu, Mikolov and Bengio, <https://arxiv.org/abs/1211.5063>):
//! g ← g · min(1, max_norm / ‖g‖), where ‖g‖ is taken over all parameters together.

use candle_core::backprop::GradStore;
use candle_core::{DType, Result};

use crate::Parameters;

/// Scales the gradients of all trainable parameters so that their common norm is at most `max_norm`; gives the norm
/// they had. Reading it waits for the device. A norm that is not finite leaves the gradients as they are.
pub fn clip_grad_norm(
    grads: &mut GradStore,
    parameters: &Parameters,
    max_norm: f64,
) -> Result<f64> {
    let mut sum_of_squares = 0.;
    for parameter in parameters.trainable() {
        if let Some(grad) = grads.get(parameter.var.as_tensor()) {
            let squares = grad.to_dtype(DType::F32)?.sqr()?.sum_all()?;
            sum_of_squares += f64::from(squares.to_scalar::<f32>()?);
        }
    }
    let norm = sum_of_squares.sqrt();
    if norm.is_finite() && norm > max_norm {
        for parameter in parameters.trainable() {
            if let Some(grad) = grads.remove(parameter.var.as_tensor()) {
                let clipped = (grad * (max_norm / norm))?;
                grads.insert(parameter.var.as_tensor(), clipped);
            }
        }
    }
    Ok(norm)
}
