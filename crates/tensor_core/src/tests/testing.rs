use std::cell::Cell;

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::testing::{
    assert_close, assert_grad, assert_gradients_flow, assert_same_step_on_each_device,
};
use crate::{Init, Parameters, Rng, WeightDecay, backward};

fn x() -> Result<Tensor> {
    Rng::new(0).normal_tensor((2, 3), 1., DType::F64, &Device::Cpu)
}

#[test]
fn a_correct_gradient_passes() -> Result<()> {
    assert_grad(&x()?, |x| x.sqr()?.sum_keepdim(1), 1e-8)
}

#[test]
#[should_panic(expected = "no gradient reached x")]
fn a_missing_gradient_is_caught() {
    assert_grad(&x().unwrap(), |x| x.detach().sqr(), 1e-2).unwrap();
}

#[test]
#[should_panic(expected = "is not close to")]
fn a_wrong_gradient_is_caught() {
    // The value is x² + x, but only x² is differentiated.
    assert_grad(&x().unwrap(), |x| x.sqr()? + x.detach(), 1e-2).unwrap();
}

#[test]
fn numbers_slices_and_tensors_are_compared_relative_to_1_plus_b() -> Result<()> {
    assert_close(1.5f32, 1.5, 0.);
    assert_close(104., 100., 0.04);
    assert_close([1., 2.], [1f32, 2.].as_slice(), 0.);
    assert_close(Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?, [[1., 2.], [3., 4.]], 0.);
    assert_close(f64::INFINITY, f64::INFINITY, 0.);
    Ok(())
}

#[test]
#[should_panic(expected = "7 is not close to 5 at [1, 0]: 2 of 4 differ (tolerance 0.1)")]
fn the_message_has_the_place_of_the_largest_difference() {
    assert_close([[1., 2.], [7., 4.]], [[1., 1.5], [5., 4.]], 0.1);
}

#[test]
#[should_panic(expected = "NaN is not close to NaN")]
fn nan_is_close_to_nothing() {
    assert_close(f64::NAN, f64::NAN, 1e3);
}

#[test]
#[should_panic(expected = "5 is not close to inf")]
fn infinity_is_close_to_itself_only() {
    assert_close(5., f64::INFINITY, 1e3);
}

#[test]
#[should_panic(expected = "shapes differ")]
fn different_shapes_are_not_close() {
    assert_close([1.], [1., 1.], 1.);
}

fn two_parameters() -> Result<(Parameters, Tensor, Tensor)> {
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    let a = parameters.root().parameter("a", 2, Init::Ones, WeightDecay::No)?;
    let b = parameters.root().parameter("b", 2, Init::Ones, WeightDecay::No)?;
    Ok((parameters, a, b))
}

#[test]
#[should_panic(expected = "b (no gradient)")]
fn a_parameter_without_gradient_is_named() {
    let (parameters, a, _b) = two_parameters().unwrap();
    let grads = backward(&a.sum_all().unwrap()).unwrap();
    assert_gradients_flow(&parameters, &grads).unwrap();
}

#[test]
#[should_panic(expected = "b (gradient 0)")]
fn a_dead_parameter_is_named() {
    let (parameters, a, b) = two_parameters().unwrap();
    let dead = (b * Var::zeros(2, DType::F32, &Device::Cpu).unwrap().as_tensor()).unwrap();
    let grads = backward(&(a + dead).unwrap().sum_all().unwrap()).unwrap();
    assert_gradients_flow(&parameters, &grads).unwrap();
}

#[test]
#[should_panic(expected = "b is frozen and has a gradient")]
fn a_frozen_parameter_that_is_trained_is_named() {
    let (mut parameters, a, b) = two_parameters().unwrap();
    parameters.freeze(|name| name == "b"); // too late: the graph already has `b` as trainable
    let grads = backward(&(a + b).unwrap().sum_all().unwrap()).unwrap();
    assert_gradients_flow(&parameters, &grads).unwrap();
}

#[test]
#[should_panic(expected = "2 is not close to 1 at [0]: 2 of 2 differ")]
fn a_step_that_is_another_one_the_second_time_is_caught() {
    let steps = Cell::new(0.);
    let step = |device: &Device| -> anyhow::Result<_> {
        steps.set(steps.get() + 1.);
        let (parameters, a, _b) = two_parameters()?;
        parameters.iter().next().unwrap().var.set(&(&a * steps.get())?)?;
        Ok((Tensor::new(0f32, device)?, parameters))
    };
    assert_same_step_on_each_device(1e-3, step).unwrap();
}
