use candle_core::{DType, IndexOp, Result, Tensor, Var};
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Rng, backward, ops};

use super::{CPU, assert_same_value_and_gradient};
use crate::bits_per_byte::bits_per_byte;
use crate::cross_entropy::{cross_entropy, log_softmax};
use crate::softmax::softmax;

/// Worked by hand: the probabilities are 1/4 and 3/4, and −(log ¼ + log ¾) / 2 = 0.836988.
#[test]
fn cross_entropy_matches_the_worked_example() -> Result<()> {
    let logits = Tensor::new(&[[[0f64, 3f64.ln()], [0., 3f64.ln()]]], &CPU)?;
    let loss = cross_entropy(&logits, &Tensor::new(&[[0i64, 1]], &CPU)?)?;
    assert_close(&loss, &Tensor::new(0.836988f64, &CPU)?, 1e-6);
    Ok(())
}

#[test]
fn the_written_out_loss_equals_the_cross_entropy_used_in_training() -> Result<()> {
    let logits = Rng::new(0).normal_tensor((2, 3, 5), 2., DType::F32, &CPU)?;
    let targets = Tensor::new(&[[0i64, 4, 2], [1, 1, 3]], &CPU)?;
    assert_same_value_and_gradient(
        &[&logits],
        |x| cross_entropy(x[0], &targets),
        |x| ops::cross_entropy(x[0], &targets),
        1e-6,
    )?;
    let in_f64 = logits.to_dtype(DType::F64)?;
    assert_close(
        &cross_entropy(&in_f64, &targets)?,
        &ops::cross_entropy(&in_f64, &targets)?,
        1e-12,
    );
    assert_grad(&in_f64, |logits| cross_entropy(logits, &targets), 1e-7)?;
    assert_grad(&in_f64, |logits| ops::cross_entropy(logits, &targets), 1e-7)
}

#[test]
fn log_softmax_is_the_log_of_softmax_and_stays_finite_where_that_is_not() -> Result<()> {
    let logits = Tensor::new(&[[1f32, 2., 4.]], &CPU)?;
    assert_close(&log_softmax(&logits)?, &softmax(&logits)?.log()?, 1e-6);
    let far_apart = Tensor::new(&[[0f32, -104.]], &CPU)?;
    assert_eq!(log_softmax(&far_apart)?.to_vec2::<f32>()?, [[0., -104.]]);
    assert_eq!(softmax(&far_apart)?.log()?.to_vec2::<f32>()?, [[0., f32::NEG_INFINITY]]);
    Ok(())
}

#[test]
fn uniform_logits_have_a_loss_of_log_v_or_eight_bits_per_byte() -> Result<()> {
    let logits = Tensor::zeros((1, 4, 256), DType::F64, &CPU)?;
    let targets = Tensor::new(&[[0i64, 99, 255, 7]], &CPU)?;
    let loss = cross_entropy(&logits, &targets)?.to_scalar::<f64>()?;
    assert_close(loss, 256f64.ln(), 1e-12);
    assert_close(bits_per_byte(loss, 4, 4), 8., 1e-12);
    assert_close(bits_per_byte(loss, 4, 16), 2., 1e-12); // each token encodes four bytes
    Ok(())
}

#[test]
fn the_gradient_is_probability_minus_one_at_the_target() -> Result<()> {
    let logits = Var::zeros((1, 1, 4), DType::F64, &CPU)?;
    let targets = Tensor::new(&[[2i64]], &CPU)?;
    let grads = backward(&cross_entropy(&logits, &targets)?)?;
    let grad = grads.get(&logits).unwrap().i((0, 0))?.to_vec1::<f64>()?;
    assert_eq!(grad, [0.25, 0.25, -0.75, 0.25]);
    Ok(())
}
