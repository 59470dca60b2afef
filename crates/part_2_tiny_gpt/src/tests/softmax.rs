use candle_core::{DType, Result, Tensor};
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Rng, ops};

use super::{CPU, assert_same_value_and_gradient};
use crate::softmax::softmax;

/// Worked by hand: exp(0) : exp(log 2) : exp(log 5) = 1 : 2 : 5.
#[test]
fn softmax_matches_the_worked_example() -> Result<()> {
    let logits = Tensor::new(&[[0f64, 2f64.ln(), 5f64.ln()]], &CPU)?;
    let expected = Tensor::new(&[[1f64 / 8., 2. / 8., 5. / 8.]], &CPU)?;
    assert_close(&softmax(&logits)?, &expected, 1e-12);
    Ok(())
}

#[test]
fn the_written_out_softmax_equals_the_fused_one() -> Result<()> {
    let logits = Rng::new(0).normal_tensor((2, 3, 7), 3., DType::F32, &CPU)?;
    assert_same_value_and_gradient(&[&logits], |x| softmax(x[0]), |x| ops::softmax(x[0]), 1e-6)?;
    assert_grad(&logits.to_dtype(DType::F64)?, softmax, 1e-7)
}

#[test]
fn a_constant_added_to_all_logits_changes_nothing_even_where_exp_overflows() -> Result<()> {
    let logits = Tensor::new(&[[1f32, 2., 3.]], &CPU)?;
    let shifted = (&logits + 1000.)?;
    assert!(shifted.exp()?.to_vec2::<f32>()?[0].iter().all(|x| x.is_infinite()));
    assert_close(&softmax(&shifted)?, &softmax(&logits)?, 0.);
    Ok(())
}
