//! Models that compute with rounded copies of their weights.

use candle_core::{DType, Module, Result, Tensor};
use tensor_core::Parameters;
use tensor_core::testing::assert_close;

use super::{fresh, ids, tiny};
use crate::{CacheKind, GptModern, GradientCheckpointing};

/// Parameters in f32 of a tiny model that computes in bf16.
fn mixed() -> Result<Parameters> {
    let (_, parameters) = fresh(&tiny(), DType::F32)?;
    parameters.into_compute_dtype(DType::BF16)
}

fn in_f32(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

#[test]
fn a_refreshed_model_has_the_new_weights_and_its_own_settings() -> Result<()> {
    let (mut parameters, ids) = (mixed()?, ids(2, 9, 1)?);
    let dropout = parameters.root().dropout(0.);
    let mut model = GptModern::new(&tiny(), parameters.root())?
        .for_training(dropout, GradientCheckpointing::On);
    let mut inference_model = GptModern::new(&tiny(), parameters.for_inference().root())?;
    let before = in_f32(&inference_model.forward(&ids)?)?;
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 1.5)?)?;
    }
    assert_close(in_f32(&inference_model.forward(&ids)?)?, &before, 0.);
    model.refresh(&mut parameters)?;
    inference_model.refresh(&mut parameters.for_inference())?;
    let new = GptModern::new(&tiny(), parameters.for_inference().root())?.forward(&ids)?;
    assert_close(in_f32(&inference_model.forward(&ids)?)?, in_f32(&new)?, 0.);
    assert_close(in_f32(&model.forward(&ids)?)?, in_f32(&new)?, 0.);
    let change = (in_f32(&new)? - before)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(change > 1e-2, "{change}");
    assert_eq!(model.gradient_checkpointing(), GradientCheckpointing::On);
    assert!(!inference_model.forward(&ids)?.track_op(), "still an inference model");
    Ok(())
}

#[test]
fn a_model_in_f32_sees_new_weights_without_being_built_again() -> Result<()> {
    let (mut model, mut parameters) = fresh(&tiny(), DType::F32)?;
    let ids = ids(2, 9, 1)?;
    let before = model.forward(&ids)?;
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 1.5)?)?;
    }
    let after = model.forward(&ids)?;
    assert!((&after - before)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-2);
    model.refresh(&mut parameters)?;
    assert_close(model.forward(&ids)?, after, 0.);
    Ok(())
}

#[test]
fn a_cache_in_bf16_gives_the_hidden_states_of_the_whole_text() -> Result<()> {
    let (parameters, ids) = (mixed()?, ids(2, 9, 1)?);
    let model = GptModern::new(&tiny(), parameters.for_inference().root())?;
    let whole = model.hidden_states(&ids)?; // (B, T, C)
    assert_eq!(whole.dtype(), DType::BF16);
    let mut cache = CacheKind::Full.new_cache(&model);
    let cached = (0..9)
        .map(|t| in_f32(&model.hidden_states_cached(&ids.narrow(1, t, 1)?, &mut cache)?))
        .collect::<Result<Vec<_>>>()?;
    assert_close(Tensor::cat(&cached, 1)?, in_f32(&whole)?, 5e-2);
    Ok(())
}
