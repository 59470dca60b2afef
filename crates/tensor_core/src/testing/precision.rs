//! Assertions about training in bf16: the model computes with rounded weights, and the parameters
//! that are trained and their gradients are f32.

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor};

use crate::{Parameter, Parameters};

/// Panics unless `half`, a loss that was computed in bf16, is near `full`, the same loss in f32,
/// and not equal to it.
#[track_caller]
pub fn assert_loss_in_bf16(half: f64, full: f64) {
    assert!(half != full, "{half}: it was computed in f32");
    assert!((half - full).abs() < 1e-2 * full.abs(), "{half} in bf16, {full} in f32");
}

/// Panics unless each trainable one of the `parameters` of a model in bf16 on the CPU is stored in
/// f32 and has a gradient in f32, and each frozen weight of a linear layer is stored in bf16 and
/// has none.
#[track_caller]
pub fn assert_trained_in_f32(parameters: &Parameters, grads: &GradStore) {
    let is_linear = |parameter: &Parameter| {
        let mut layers = parameters.linear_layers().iter();
        layers.any(|(layer, _)| parameter.name.strip_suffix(".weight") == Some(layer))
    };
    for parameter in parameters.iter() {
        let is_rounded = !parameter.trainable && is_linear(parameter);
        let stored = if is_rounded { DType::BF16 } else { DType::F32 };
        let grad = grads.get(parameter.var.as_tensor()).map(Tensor::dtype);
        let expected = (stored, parameter.trainable.then_some(DType::F32));
        assert_eq!((parameter.var.dtype(), grad), expected, "{}", parameter.name);
    }
}

/// Panics unless the gradient of each parameter differs from the one in `expected` by at most the
/// share `tol` of its length.
///
/// # Errors
/// When a gradient cannot be read.
///
/// # Panics
/// Also when a parameter has no gradient.
#[track_caller]
pub fn assert_gradients_near(
    parameters: &Parameters,
    grads: &GradStore,
    expected: &GradStore,
    tol: f32,
) -> Result<()> {
    let norm = |x: &Tensor| -> Result<f32> { x.sqr()?.sum_all()?.sqrt()?.to_scalar() };
    for parameter in parameters.iter() {
        let [actual, expected] = [grads, expected]
            .map(|grads| grads.get(parameter.var.as_tensor()).expect("a gradient"));
        let (difference, size) = (norm(&(actual - expected)?)?, norm(expected)?);
        assert!(difference <= tol * size, "{}: {difference} of {size}", parameter.name);
    }
    Ok(())
}
