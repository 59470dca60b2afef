use candle_core::{DType, IndexOp, Result, Tensor};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Rng, backward};

use super::CPU;
use crate::loss::{bits_per_byte, next_token_loss};

#[test]
fn the_written_out_loss_equals_the_cross_entropy_used_in_training() -> Result<()> {
    let logits = Rng::new(0).normal_tensor((2, 3, 5), 2., DType::F64, &CPU)?;
    let targets = Tensor::new(&[[0i64, 4, 2], [1, 1, 3]], &CPU)?;
    let (reference, fused) =
        (next_token_loss(&logits, &targets)?, cross_entropy(&logits, &targets)?);
    assert_close(&reference, &fused, 1e-12)?;
    assert_grad(&logits, |logits| next_token_loss(logits, &targets), 1e-7)?;
    assert_grad(&logits, |logits| cross_entropy(logits, &targets), 1e-7)?;
    Ok(())
}

#[test]
fn uniform_logits_have_a_loss_of_log_v_or_eight_bits_per_byte() -> Result<()> {
    let logits = Tensor::zeros((1, 4, 256), DType::F64, &CPU)?;
    let targets = Tensor::new(&[[0i64, 99, 255, 7]], &CPU)?;
    let loss = next_token_loss(&logits, &targets)?.to_scalar::<f64>()?;
    assert!((loss - 256f64.ln()).abs() < 1e-12);
    assert!((bits_per_byte(loss, 4, 4) - 8.).abs() < 1e-12);
    assert!((bits_per_byte(loss, 4, 16) - 2.).abs() < 1e-12, "each token encodes four bytes");
    Ok(())
}

#[test]
fn the_gradient_is_probability_minus_one_at_the_target() -> Result<()> {
    let logits = candle_core::Var::zeros((1, 1, 4), DType::F64, &CPU)?;
    let targets = Tensor::new(&[[2i64]], &CPU)?;
    let grads = backward(&next_token_loss(&logits, &targets)?)?;
    let grad = grads.get(&logits).unwrap().i((0, 0))?.to_vec1::<f64>()?;
    assert_eq!(grad, [0.25, 0.25, -0.75, 0.25]);
    Ok(())
}
