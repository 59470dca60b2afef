//! The folders that `model_folder::save` writes open in Hugging Face transformers, with the same logits, family by family.
//!
//! Runs where `$COURSE_PYTHON` (else `python3`) has torch and transformers, and says that it skipped elsewhere.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use modern::config::{AttentionBias, Llama3Scaling, LmHead, PositionEncoding, QkNorm};
use modern::model_folder::{self, SpecialTokenIds};
use modern::{GptModern, ModelConfig, SlidingWindow};
use serde_json::json;
use tensor_core::testing::assert_python_agrees;
use tensor_core::{Parameters, Rng};

/// What the folder is called, the class that transformers should make of it, and the model.
fn families() -> Vec<(&'static str, &'static str, ModelConfig)> {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = ModelConfig { vocab_size: 64, ..ModelConfig::byte_level(64, 2, 4, 16) };
        config.attention.n_kv_head = 2;
        change(&mut config);
        config
    };
    let llama_3 = with(|c| {
        c.lm_head = LmHead::Untied;
        let (factor, low_freq_factor, high_freq_factor, original_context) = (4., 1., 4., 16);
        let scaling = Llama3Scaling {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context_len: original_context,
        };
        c.attention.position = PositionEncoding::Rope { base: 500., scaling: Some(scaling) };
    });
    let llama = "LlamaForCausalLM";
    vec![
        ("grouped heads, tied", llama, with(|_| {})),
        ("longer context, untied", llama, llama_3),
        ("biases everywhere", llama, with(|c| c.attention.bias = AttentionBias::All)),
        ("heads of another width", llama, with(|c| c.attention.head_dim = 6)),
        ("qwen2", "Qwen2ForCausalLM", with(|c| c.attention.bias = AttentionBias::Qkv)),
        ("qwen3", "Qwen3ForCausalLM", with(|c| c.attention.qk_norm = QkNorm::PerHead)),
        // The text is 40 tokens long, the window 6.
        (
            "mistral",
            "MistralForCausalLM",
            with(|c| c.attention.window = Some(SlidingWindow { size: 6, sinks: 0 })),
        ),
    ]
}

/// Numbers that matter in every parameter, norms and biases too, so that a swapped or transposed tensor shows.
fn random(config: &ModelConfig, dtype: DType) -> Result<Parameters> {
    let mut parameters = Parameters::seeded(0, dtype, &Device::Cpu);
    GptModern::new(config, parameters.root())?;
    let mut rng = Rng::new(1);
    for parameter in parameters.iter() {
        let around = if parameter.name.contains("norm") { 1. } else { 0. };
        let numbers = rng.normal_tensor(parameter.var.shape(), 0.3, DType::F32, &Device::Cpu)?;
        parameter.var.set(&(numbers + around)?.to_dtype(dtype)?)?;
    }
    Ok(parameters)
}

/// Writes a folder and, in `check.json`, what it answers when it is opened in `dtype`.
fn write(
    folder: &Path,
    class: &str,
    config: &ModelConfig,
    (stored, dtype): (DType, DType),
) -> Result<()> {
    let ends = SpecialTokenIds { bos: Some(1), eos: vec![7] };
    model_folder::save(folder, config, &random(config, stored)?, &ends, None)?;
    let (model, _) = model_folder::open(folder, dtype, &Device::Cpu)?;
    let mut rng = Rng::new(2);
    let ids: Vec<u32> = (0..40).map(|_| rng.below(64) as u32).collect();
    let logits = model.forward(&Tensor::new(&ids[..], &Device::Cpu)?.unsqueeze(0)?)?; // (1, T, V)
    let check = json!({
        "class": class, "eos_token_id": 7, "input_ids": ids,
        "dtype": if dtype == DType::BF16 { "bfloat16" } else { "float32" },
        "logits": logits.squeeze(0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?,
    });
    Ok(std::fs::write(folder.join("check.json"), check.to_string())?)
}

#[test]
fn transformers_answers_as_the_model_that_was_saved() -> Result<()> {
    let root = tempfile::tempdir()?;
    let mut folders = Vec::new();
    for (name, class, config) in families() {
        folders.push(root.path().join(name));
        write(&root.path().join(name), class, &config, (DType::F32, DType::F32))?;
    }
    for (name, class, config) in families() {
        for dtype in [DType::F32, DType::BF16] {
            let folder = root.path().join(format!("{name}, bf16 opened in {dtype:?}"));
            write(&folder, class, &config, (DType::BF16, dtype))?;
            folders.push(folder);
        }
    }
    assert_python_agrees("check_modern_folder.py", &folders);
    Ok(())
}
