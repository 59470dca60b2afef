use candle_core::{DType, Result, Tensor};
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Rng, ops};

use super::{CPU, assert_same_value_and_gradient};
use crate::layer_norm::layer_norm;

/// Worked by hand: the mean of 1, 2, 3, 4 is 2.5, the variance 1.25, and 1.5 / √1.25 = 1.341641.
#[test]
fn layer_norm_matches_the_worked_example() -> Result<()> {
    let x = Tensor::new(&[[1f64, 2., 3., 4.]], &CPU)?;
    let weight = Tensor::new(&[1f64, 1., 1., 2.], &CPU)?;
    let bias = Tensor::new(&[0f64, 0., 1., 0.], &CPU)?;
    let expected = Tensor::new(&[[-1.341641f64, -0.447214, 1.447214, 2.683282]], &CPU)?;
    assert_close(&layer_norm(&x, &weight, &bias, 0.)?, &expected, 1e-6);
    Ok(())
}

#[test]
fn the_written_out_layer_norm_equals_the_fused_one() -> Result<()> {
    let mut rng = Rng::new(0);
    let x = (rng.normal_tensor((2, 3, 8), 2., DType::F32, &CPU)? + 0.5)?;
    let weight = rng.normal_tensor(8, 1., DType::F32, &CPU)?;
    let bias = rng.normal_tensor(8, 1., DType::F32, &CPU)?;
    assert_same_value_and_gradient(
        &[&x, &weight, &bias],
        |x| layer_norm(x[0], x[1], x[2], 1e-5),
        |x| ops::layer_norm(x[0], x[1], x[2], 1e-5),
        1e-5, // a gradient of weight or bias sums over six rows
    )?;
    let (weight, bias) = (weight.to_dtype(DType::F64)?, bias.to_dtype(DType::F64)?);
    assert_grad(&x.to_dtype(DType::F64)?, |x| layer_norm(x, &weight, &bias, 1e-5), 1e-7)
}

#[test]
fn the_scale_and_the_mean_of_a_row_do_not_matter() -> Result<()> {
    let x = Rng::new(1).normal_tensor((4, 8), 1., DType::F64, &CPU)?;
    let (ones, zeros) = (Tensor::ones(8, DType::F64, &CPU)?, Tensor::zeros(8, DType::F64, &CPU)?);
    let y = layer_norm(&x, &ones, &zeros, 0.)?;
    assert_close(&layer_norm(&((&x * 100.)? + 7.)?, &ones, &zeros, 0.)?, &y, 1e-9);
    assert_close(&y.mean(1)?, &Tensor::zeros(4, DType::F64, &CPU)?, 1e-12);
    assert_close(&y.sqr()?.mean(1)?, &Tensor::ones(4, DType::F64, &CPU)?, 1e-12);
    Ok(())
}
