//! 2.4 Gradient clipping: one batch with a huge gradient must not throw the weights far off. All
//! gradients together are one vector, which is shortened and keeps its direction (Pascanu, Mikolov
//! and Bengio, <https://arxiv.org/abs/1211.5063>).
//!
//! ```text
//! g ← g · min(1, max_norm / ‖g‖)        ‖g‖² = sum of the squares of all gradients
//! ```

use candle_core::{DType, Result, Tensor};

// ANCHOR: clip
/// Gradients of all parameters, of any shapes, scaled to a global norm of at most `max_norm`; and
/// the norm before. Reference for the fused [`tensor_core::clip_grad_norm`], which training calls.
pub fn clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<(Vec<Tensor>, f64)> {
    let mut sum_of_squares = 0.;
    for grad in grads {
        // In f64: the square of an f32 may be too large or too small for f32.
        sum_of_squares += grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    let norm = sum_of_squares.sqrt();
    let scale = (max_norm / norm).min(1.);
    let clipped = grads.iter().map(|grad| grad * scale).collect::<Result<_>>()?;
    Ok((clipped, norm))
}
// ANCHOR_END: clip
