//! Assertions for the tests of every crate: closeness of numbers and tensors, correctness of
//! gradients, gradient flow to every parameter.
//!
//! A tolerance `tol` means |a − b| ≤ tol · (1 + |b|), element by element.

mod counting_allocator;
mod outside;
mod precision;
mod program;

use std::sync::LazyLock;

use approx::abs_diff_eq;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
pub use counting_allocator::CountingAllocator;
pub use outside::{assert_python_agrees, course_data};
pub use precision::{assert_gradients_near, assert_loss_in_bf16, assert_trained_in_f32};
pub use program::{CheckpointingRuns, Program, path_arg};

use crate::{GradientReport, Parameters, backward};

/// Devices to test on: the CPU, and a CUDA GPU if the build and the machine have one. With
/// `COURSE_DEVICE=cuda` in the environment they must have one.
///
/// # Errors
/// When they must have a GPU and have none.
pub fn devices() -> Result<Vec<Device>> {
    // Opened once: each opening would load the kernels again.
    static CUDA: LazyLock<Result<Device>> = LazyLock::new(|| Device::new_cuda(0));
    match (&*CUDA, std::env::var("COURSE_DEVICE").as_deref()) {
        (Ok(cuda), _) => Ok(vec![Device::Cpu, cuda.clone()]),
        (Err(error), Ok("cuda")) => candle_core::bail!("COURSE_DEVICE is cuda: {error}"),
        (Err(_), _) => Ok(vec![Device::Cpu]),
    }
}

/// Panics unless a training step is on each of [`devices`] what it is on the CPU. `step` takes it,
/// and returns the output of the model before it and the parameters after it.
///
/// AdamW divides a gradient near 0 by its size, and so magnifies its rounding: let the optimizer's
/// ε be 1, with which a step is about as long as the gradient.
///
/// # Errors
/// Those of `step`.
pub fn assert_same_step_on_each_device(
    tol: f64,
    step: impl Fn(&Device) -> anyhow::Result<(Tensor, Parameters)>,
) -> anyhow::Result<()> {
    let (expected_output, expected) = step(&Device::Cpu)?;
    for device in devices()? {
        let (output, parameters) = step(&device)?;
        for (actual, expected) in parameters.iter().zip(expected.iter()) {
            let on_device = actual.var.device().same_device(&device);
            assert!(on_device, "{} is on {:?}", actual.name, actual.var.device().location());
            assert_close(actual.var.as_tensor(), expected.var.as_tensor(), tol);
        }
        assert_close(&output, &expected_output, tol);
    }
    Ok(())
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Numbers to compare: one, a slice of them, or a tensor.
pub trait Numbers {
    /// Appends the numbers to `values`, row by row, and returns their shape.
    ///
    /// # Panics
    /// When a tensor cannot be read as numbers, or rows differ in length.
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize>;
}

impl Numbers for f64 {
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize> {
        values.push(*self);
        Vec::new()
    }
}

impl Numbers for f32 {
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize> {
        f64::from(*self).append_to(values)
    }
}

impl Numbers for Tensor {
    fn append_to(&self, all: &mut Vec<f64>) -> Vec<usize> {
        all.extend(values(self).expect("a tensor of numbers"));
        self.dims().to_vec()
    }
}

impl<T: Numbers> Numbers for [T] {
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize> {
        let shapes: Vec<_> = self.iter().map(|row| row.append_to(values)).collect();
        assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]), "rows differ in length");
        let row = shapes.into_iter().next().unwrap_or_default();
        [vec![self.len()], row].concat()
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize> {
        self.as_slice().append_to(values)
    }
}

impl<T: Numbers, const N: usize> Numbers for [T; N] {
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize> {
        self.as_slice().append_to(values)
    }
}

impl<T: Numbers + ?Sized> Numbers for &T {
    fn append_to(&self, values: &mut Vec<f64>) -> Vec<usize> {
        (**self).append_to(values)
    }
}

/// Panics unless `a` and `b` have the same shape and are close everywhere (NaN is not close to
/// anything, and an infinity to itself only). The message has the largest difference, relative to
/// 1 + |b|, and its place.
#[track_caller]
pub fn assert_close(a: impl Numbers, b: impl Numbers, tol: f64) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (dims, expected_dims) = (a.append_to(&mut left), b.append_to(&mut right));
    assert_eq!(dims, expected_dims, "shapes differ");
    let (mut n_far, mut worst) = (0, None);
    for (i, (a, b)) in left.iter().zip(&right).enumerate() {
        let scale = if b.is_finite() { 1. + b.abs() } else { 0. };
        if a == b || abs_diff_eq!(a, b, epsilon = tol * scale) {
            continue;
        }
        n_far += 1;
        let distance = (a - b).abs() / scale;
        if worst.is_none_or(|(_, largest)| distance > largest) {
            worst = Some((i, distance));
        }
    }
    if let Some((i, _)) = worst {
        let (a, b, n, index) = (left[i], right[i], left.len(), index_of(i, &dims));
        panic!("{a} is not close to {b} at {index:?}: {n_far} of {n} differ (tolerance {tol})");
    }
}

/// Index in an array of shape `dims` of its element number `i`, row by row.
fn index_of(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = Vec::new();
    for &n in dims.iter().rev() {
        index.push(i % n);
        i /= n;
    }
    index.reverse();
    index
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
    assert_close(grad, Tensor::from_vec(numeric, x.shape(), x.device())?, tol);
    Ok(())
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
