//! Assertions for the tests of every crate: closeness of tensors, correctness of gradients,
//! gradient flow to every parameter.
//!
//! A tolerance `tol` means |a − b| ≤ tol · (1 + |b|), element by element.

mod counting_allocator;
mod outside;
mod program;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
pub use counting_allocator::CountingAllocator;
pub use outside::{assert_python_agrees, course_data};
pub use program::{Program, path_arg};

use crate::{GradientReport, Parameters, backward};

/// Devices to test on: the CPU, and a CUDA GPU if the build and the machine have one.
pub fn devices() -> Result<Vec<Device>> {
    let mut devices = vec![Device::Cpu];
    if let cuda @ Device::Cuda(_) = Device::cuda_if_available(0)? {
        devices.push(cuda);
    }
    Ok(devices)
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Panics unless `a` and `b` have the same shape and are close everywhere (NaN is not close to
/// anything).
pub fn assert_close(a: &Tensor, b: &Tensor, tol: f64) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "shapes differ");
    for (i, (a, b)) in values(a)?.into_iter().zip(values(b)?).enumerate() {
        let close = a == b || (a - b).abs() <= tol * (1. + b.abs());
        assert!(close, "element {i}: {a} is not close to {b} (tolerance {tol})");
    }
    Ok(())
}

/// Panics unless backpropagation through `f` agrees with finite differences at `x`.
///
/// The differentiated scalar is the sum of `f(x)` with fixed, uneven weights, so that errors cannot
/// cancel. Use f64 and a tolerance like 1e-6: central differences with step 1e-5 are accurate to
/// about 1e-9 there.
pub fn assert_grad(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>, tol: f64) -> Result<()> {
    assert_eq!(x.dtype(), DType::F64, "finite differences need f64");
    let weighted = |x: &Tensor| {
        let y = f(x)?.flatten_all()?;
        let weights = (0..y.elem_count()).map(|i| (1. + i as f64).sin());
        (&y * Tensor::from_iter(weights, y.device())?)?.sum_all()
    };
    let var = Var::from_tensor(x)?;
    let grads = backward(&weighted(var.as_tensor())?)?;
    let Some(grad) = grads.get(var.as_tensor()) else { panic!("no gradient reached x") };

    const STEP: f64 = 1e-5;
    let at = values(x)?;
    let shifted = |i: usize, by: f64| {
        let mut moved = at.clone();
        moved[i] += by;
        weighted(&Tensor::from_vec(moved, x.shape(), x.device())?)?.to_scalar::<f64>()
    };
    let numeric = (0..at.len())
        .map(|i| Ok((shifted(i, STEP)? - shifted(i, -STEP)?) / (2. * STEP)))
        .collect::<Result<Vec<f64>>>()?;
    assert_close(grad, &Tensor::from_vec(numeric, x.shape(), x.device())?, tol)
}

/// Panics unless every trainable parameter has a finite gradient that is not all 0, and frozen
/// parameters have no gradient.
pub fn assert_gradients_flow(parameters: &Parameters, grads: &GradStore) -> Result<()> {
    for parameter in parameters.iter().filter(|parameter| !parameter.trainable) {
        let grad = grads.get(parameter.var.as_tensor());
        assert!(grad.is_none(), "{} is frozen and has a gradient", parameter.name);
    }
    GradientReport::new(grads, parameters)?.ensure_complete()
}
