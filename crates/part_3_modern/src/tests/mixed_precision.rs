//! Models that compute with rounded copies of their weights.

use candle_core::{DType, Device, Module, Result, Tensor};
use tensor_core::Parameters;
use tensor_core::testing::assert_close;

use super::{fresh, ids, tiny};
use crate::{CacheKind, GptModern, GradientCheckpointing};

/// Parameters in f32 of a tiny model that computes in `dtype`: with copies of the weights in f16,
/// and with rounded operands of matrix products in bf16.
fn mixed(dtype: DType) -> Result<Parameters> {
    let (_, parameters) = fresh(&tiny(), DType::F32)?;
    parameters.into_compute_dtype(dtype)
}

fn in_f32(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

#[test]
fn a_refreshed_model_has_the_new_weights_and_its_own_settings() -> Result<()> {
    let (mut parameters, ids) = (mixed(DType::F16)?, ids(2, 9, 1)?);
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
fn a_model_of_f32_tensors_sees_new_weights_without_being_built_again() -> Result<()> {
    let ids = ids(2, 9, 1)?;
    for dtype in [DType::F32, DType::BF16] {
        let mut parameters = mixed(dtype)?;
        let mut model = GptModern::new(&tiny(), parameters.root())?;
        let before = model.forward(&ids)?;
        for parameter in parameters.iter() {
            parameter.var.set(&(parameter.var.as_detached_tensor() * 1.5)?)?;
        }
        let after = model.forward(&ids)?;
        assert!((&after - before)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-2);
        model.refresh(&mut parameters)?;
        assert_close(model.forward(&ids)?, after, 0.);
    }
    Ok(())
}

#[test]
fn bf16_on_the_cpu_rounds_the_operands_of_products_alone() -> Result<()> {
    let ids = ids(2, 9, 1)?;
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    GptModern::new(&tiny(), parameters.root())?;
    let mut parameters = parameters.into_compute_dtype(DType::BF16)?;
    assert_eq!((parameters.dtype(), parameters.compute_dtype()), (DType::F32, DType::BF16));
    let full = GptModern::new(&tiny(), parameters.with_compute_dtype(DType::F32).root())?;
    let mixed = GptModern::new(&tiny(), parameters.root())?;
    let [full, mixed] = [full.forward(&ids)?, mixed.forward(&ids)?];
    let difference = (&mixed - &full)?.abs()?.max_all()?.to_scalar::<f32>()?;
    let size = full.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!((1e-5 * size..2e-2 * size).contains(&difference), "{difference} of {size}");
    Ok(())
}

#[test]
fn a_cache_in_bf16_gives_the_hidden_states_of_the_whole_text() -> Result<()> {
    let (parameters, ids) = (mixed(DType::BF16)?, ids(2, 9, 1)?);
    let model = GptModern::new(&tiny(), parameters.for_inference().root())?;
    let whole = model.hidden_states(&ids)?; // (B, T, C)
    let mut cache = CacheKind::Full.new_cache(&model);
    let cached = (0..9)
        .map(|t| model.hidden_states_cached(&ids.narrow(1, t, 1)?, &mut cache))
        .collect::<Result<Vec<_>>>()?;
    assert_close(Tensor::cat(&cached, 1)?, whole, 1e-2);
    Ok(())
}
