//! Gradient clipping by global norm (Pascanu, Mikolov and Bengio,
//! <https://arxiv.org/abs/1211.5063>): g ← g · min(1, max_norm / ‖g‖), where ‖g‖ is the norm of all
//! gradients together.

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor};

use crate::Parameters;
use crate::kernels::{
    Float, GRAIN, build, by_type, has_fused_loops, map_elements, sum, tensor_like, values,
    vectorized,
};

/// Scales the gradients of all trainable parameters so that their global norm is at most
/// `max_norm`; returns the norm before clipping. Reading it synchronizes with the device. If the
/// norm is not finite, the gradients are left unchanged.
pub fn clip_grad_norm(
    grads: &mut GradStore,
    parameters: &Parameters,
    max_norm: f64,
) -> Result<f64> {
    let of_parameters = parameters.trainable().filter_map(|p| grads.get(p.var.as_tensor()));
    let norm = sum_of_squares(of_parameters)?.sqrt();
    if norm.is_finite() && norm > max_norm {
        for parameter in parameters.trainable() {
            if let Some(grad) = grads.remove(parameter.var.as_tensor()) {
                let clipped = match has_fused_loops(&grad) {
                    true => by_type!(grad, fused_scale(&grad, max_norm / norm))?,
                    false => (grad * (max_norm / norm))?,
                };
                grads.insert(parameter.var.as_tensor(), clipped);
            }
        }
    }
    Ok(norm)
}

/// Sum of the squares of all of `grads`, in f64. Those on a GPU are summed there, and their sum is
/// read once: each read waits for the GPU.
pub(crate) fn sum_of_squares<'a>(grads: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let (mut sum, mut on_device): (f64, Option<Tensor>) = (0., None);
    for grad in grads {
        if has_fused_loops(grad) {
            sum += by_type!(grad, fused_sum_of_squares(&grad.contiguous()?))?;
            continue;
        }
        let squares = grad.to_dtype(DType::F64)?.sqr()?.sum_all()?;
        on_device = Some(match on_device.take() {
            Some(sum) => (sum + squares)?,
            None => squares,
        });
    }
    Ok(sum + on_device.map_or(Ok(0.), |sum| sum.to_scalar::<f64>())?)
}

/// Sum of squares in f64, as a square may overflow or underflow f32. Chunks of fixed size are added
/// in order, so the result does not depend on the number of threads.
fn fused_sum_of_squares<T: Float>(grad: &Tensor) -> Result<f64> {
    let grad = values::<T>(grad)?;
    let [sums] = build([(grad.len().div_ceil(GRAIN), 1)], |i, [total]| {
        let part = &grad[i * GRAIN..grad.len().min((i + 1) * GRAIN)];
        [total.fill_each(|_| vectorized!(sum([part], |[g]| g.to_f64() * g.to_f64())))]
    });
    Ok(sums.into_iter().sum())
}

fn fused_scale<T: Float>(grad: &Tensor, factor: f64) -> Result<Tensor> {
    let grad = grad.contiguous()?;
    let (from, factor) = (values::<T>(&grad)?, T::cast(factor));
    let [scaled] = map_elements!([from], [from * factor]);
    tensor_like(scaled, &grad)
}
