//! AdamW's update of one parameter with full moments: by plain tensor operations, and fused.

use candle_core::{Result, Tensor, Var};

use crate::kernels::{Float, GRAIN, for_each_part, values, vectorized, write};
use crate::moments::Step;

/// Update of one parameter by plain tensor operations.
pub(super) fn reference(
    var: &Var,
    [first, second]: [&mut Tensor; 2],
    grad: &Tensor,
    step: &Step,
) -> Result<()> {
    let grad = grad.to_dtype(first.dtype())?;
    *first = ((&*first * step.beta1)? + (&grad * (1. - step.beta1))?)?;
    *second = ((&*second * step.beta2)? + (grad.sqr()? * (1. - step.beta2))?)?;
    let corrected_first = (&*first * step.bias_correction1)?;
    let corrected_second = (&*second * step.bias_correction2)?;
    let update = (corrected_first / (corrected_second.sqrt()? + step.eps)?)?;
    let value = var.as_detached_tensor().to_dtype(update.dtype())?;
    var.set(&((value * step.decay)? - (update * step.lr)?)?.to_dtype(var.dtype())?)
}

/// Update of one parameter in a single pass over memory.
pub(super) fn fused<T: Float>(
    weights: &Tensor,
    [first, second]: [&Tensor; 2],
    grad: &Tensor,
    step: &Step,
) -> Result<()> {
    let grad = grad.contiguous()?;
    let grad = values::<T>(&grad)?;
    let cast = T::cast;
    let (beta1, beta2) = (cast(step.beta1), cast(step.beta2));
    let (one_minus_beta1, one_minus_beta2) = (cast(1. - step.beta1), cast(1. - step.beta2));
    let (bias_correction1, bias_correction2) =
        (cast(step.bias_correction1), cast(step.bias_correction2));
    let (eps, decay, lr) = (cast(step.eps), cast(step.decay), cast(step.lr));
    let run = |value: &mut [T], first: &mut [T], second: &mut [T]| {
        let parts = [(value, GRAIN), (first, GRAIN), (second, GRAIN)];
        for_each_part(parts, |part, [value, first, second]| {
            let weights = value.iter_mut().zip(first).zip(second).zip(&grad[part * GRAIN..]);
            vectorized!({
                weights.for_each(|(((value, first), second), &g)| {
                    *first = beta1 * *first + one_minus_beta1 * g;
                    *second = beta2 * *second + one_minus_beta2 * g * g;
                    let update =
                        *first * bias_correction1 / ((*second * bias_correction2).sqrt() + eps);
                    *value = *value * decay - lr * update;
                });
            });
        });
    };
    let mut result = Ok(());
    write(weights, |value| {
        result = write(first, |first| {
            // The last of the three locks; an error in it is the outer one's.
            let inner = write(second, |second| run(value, first, second));
            debug_assert!(inner.is_ok());
        });
    })?;
    result
}
