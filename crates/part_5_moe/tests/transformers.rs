//! The model folders that `model_folder::save` writes load in Hugging Face transformers as Mixtral,
//! with the same logits.
//!
//! Runs if `$COURSE_PYTHON` (else `python3`) has torch and transformers; otherwise it prints that
//! it was skipped.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::config::LmHead;
use model_io::model_folder::SpecialTokenIds;
use model_io::{ModelConfig, SlidingWindow};
use moe::{GptMoe, MoeConfig, RouterConfig, model_folder};
use serde_json::json;
use tensor_core::testing::assert_python_agrees;
use tensor_core::{Parameters, Rng};

/// Random parameters, large enough for each of them to affect the logits.
fn random(config: &MoeConfig) -> Result<Parameters> {
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    GptMoe::new(config, parameters.root())?;
    let mut rng = Rng::new(1);
    for parameter in parameters.iter() {
        let mean = if parameter.name.contains("norm") { 1. } else { 0. };
        let noise = rng.normal_tensor(parameter.var.shape(), 0.3, DType::F32, &Device::Cpu)?;
        parameter.var.set(&(noise + mean)?)?;
    }
    Ok(parameters)
}

/// Writes a model folder and, in `check.json`, the expected logits.
fn write(folder: &Path, config: &MoeConfig) -> Result<()> {
    let special_ids = SpecialTokenIds { bos: Some(1), eos: vec![7] };
    model_folder::save(folder, config, &random(config)?, &special_ids)?;
    let (model, _) = model_folder::open(folder, DType::F32, &Device::Cpu)?;
    let mut rng = Rng::new(2);
    let ids: Vec<u32> = (0..40).map(|_| rng.below(64) as u32).collect();
    let inputs = Tensor::new(&ids[..], &Device::Cpu)?.unsqueeze(0)?; // (1, T)
    let (logits, _) = model.forward_with_routing(&inputs)?; // (1, T, V)
    let check = json!({
        "class": "MixtralForCausalLM", "eos_token_id": 7, "input_ids": ids, "dtype": "float32",
        "logits": logits.squeeze(0)?.to_vec2::<f32>()?,
    });
    Ok(std::fs::write(folder.join("check.json"), check.to_string())?)
}

#[test]
fn transformers_gives_the_logits_of_the_saved_mixtral() -> Result<()> {
    let root = tempfile::tempdir()?;
    let mut dense = ModelConfig { vocab_size: 64, ..ModelConfig::byte_level(64, 2, 4, 16) };
    dense.attention.n_kv_head = 2;
    let mut windowed = dense;
    windowed.attention.window = Some(SlidingWindow { size: 6, sinks: 0 }.into());
    let untied = ModelConfig { lm_head: LmHead::Untied, ..dense };
    let mut folders = Vec::new();
    for (name, model, e, k) in [
        ("two of four", dense, 4, 2),
        ("three of eight, untied", untied, 8, 3),
        ("windowed", windowed, 3, 2),
    ] {
        let folder = root.path().join(name);
        write(&folder, &MoeConfig::with_flops_of(&model, RouterConfig::new(e, k))?)?;
        folders.push(folder);
    }
    assert_python_agrees("check_modern_folder.py", &folders);
    Ok(())
}
