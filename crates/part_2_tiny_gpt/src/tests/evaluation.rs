use anyhow::Result;
use candle_core::{DType, Module};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::assert_close;

use super::{CPU, new_model};
use crate::{Batch, evaluate};

#[test]
fn the_loss_is_the_mean_over_all_tokens_for_any_batch_size() -> Result<()> {
    let (model, _) = new_model(0, DType::F32)?;
    let tokens: Vec<u32> = (0..45).map(|i| i * 37 % 256).collect();
    let mut nats = 0.;
    for start in (0..44).step_by(8) {
        // One window at a time, the last one of 4 tokens.
        let batch = Batch::from_starts(&tokens, &[start], 8.min(44 - start), &CPU)?;
        let loss = cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?;
        nats += loss.to_scalar::<f32>()? * batch.targets.elem_count() as f32;
    }
    for batch_size in [1, 2, 3, 100] {
        let metrics = evaluate(&model, &tokens, batch_size, &CPU)?;
        assert_eq!(metrics.tokens, 44);
        assert_close(metrics.loss, f64::from(nats) / 44., 1e-5);
        assert_close(metrics.bits_per_byte, metrics.loss / 2f64.ln(), 1e-12);
    }
    Ok(())
}

#[test]
fn evaluating_fewer_than_two_tokens_is_an_error() -> Result<()> {
    let (model, _) = new_model(0, DType::F32)?;
    let error = evaluate(&model, &[1], 4, &CPU).unwrap_err().to_string();
    assert!(error.contains("too few tokens (1) to predict any"), "{error}");
    Ok(())
}
