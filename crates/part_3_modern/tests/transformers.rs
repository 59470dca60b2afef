//! Folders written by `model_folder::save`, opened in Hugging Face transformers: every family must
//! give the same logits.
//!
//! Runs if `$COURSE_PYTHON` (or else `python3`) has torch and transformers; otherwise it prints
//! that it was skipped.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor};
use model_io::config::{
    AttentionBias, Llama3Scaling, LmHead, PositionEncoding, QkNorm, RopeParameters, RopeScaling,
    YarnScaling,
};
use model_io::model_folder::{self, SpecialTokenIds};
use model_io::{ModelConfig, SlidingWindow};
use modern::GptModern;
use serde_json::json;
use tensor_core::testing::assert_python_agrees;
use tensor_core::{Parameters, Rng};

/// Folder name, expected class in transformers, and model config of each family.
fn families() -> Vec<(&'static str, &'static str, ModelConfig)> {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = ModelConfig { vocab_size: 64, ..ModelConfig::byte_level(64, 2, 4, 16) };
        config.attention.n_kv_head = 2;
        change(&mut config);
        config
    };
    let scaled = |scaling| {
        let mut config = with(|c| c.lm_head = LmHead::Untied);
        let rope = RopeParameters { scaling: Some(scaling), ..RopeParameters::new(500.) };
        config.attention.position = PositionEncoding::Rope(rope);
        config
    };
    let llama_3 = RopeScaling::Llama3(Llama3Scaling {
        factor: 4.,
        low_freq_factor: 1.,
        high_freq_factor: 4.,
        original_context_len: 16,
    });
    let yarn = RopeScaling::Yarn(YarnScaling {
        factor: 4.,
        attention_factor: None,
        beta_fast: 4.,
        beta_slow: 1.,
        original_context_len: 16,
    });
    // The text has 40 tokens, so it is longer than the context.
    let mut dynamic = scaled(RopeScaling::Dynamic { factor: 4., original_context_len: 16 });
    dynamic.context_len = 16;
    let llama = "LlamaForCausalLM";
    let variants = model_io::testing::variants();
    let variant = |name: &str| {
        let (_, config) = variants.iter().find(|(known, _)| *known == name).expect(name);
        ModelConfig { vocab_size: 64, ..*config }
    };
    vec![
        ("grouped heads, tied", llama, with(|_| {})),
        ("longer context, untied", llama, scaled(llama_3)),
        ("linear", llama, scaled(RopeScaling::Linear { factor: 4. })),
        ("dynamic", llama, dynamic),
        ("yarn", llama, scaled(yarn)),
        ("biases everywhere", llama, with(|c| c.attention.bias = AttentionBias::All)),
        ("heads of another width", llama, with(|c| c.attention.head_dim = 6)),
        ("qwen2", "Qwen2ForCausalLM", with(|c| c.attention.bias = AttentionBias::Qkv)),
        ("qwen3", "Qwen3ForCausalLM", with(|c| c.attention.logits.qk_norm = QkNorm::PerHead)),
        ("smollm3", "SmolLM3ForCausalLM", variant("smollm3")),
        // The text has 40 tokens, so it is longer than the window.
        (
            "mistral",
            "MistralForCausalLM",
            with(|c| c.attention.window = Some(SlidingWindow { size: 6, sinks: 0 }.into())),
        ),
        ("phi3", "Phi3ForCausalLM", variant("phi3")), // longer than the original context, too
        ("gemma", "GemmaForCausalLM", variant("gemma")),
        ("gemma2", "Gemma2ForCausalLM", variant("gemma2")),
        ("gemma3", "Gemma3ForCausalLM", variant("gemma3_text")),
        ("gpt2", "GPT2LMHeadModel", variant("gpt2")),
        ("opt", "OPTForCausalLM", variant("opt")),
        ("gpt_neox", "GPTNeoXForCausalLM", variant("gpt_neox")),
        ("mixtral", "MixtralForCausalLM", variant("mixtral")),
        ("qwen3_moe", "Qwen3MoeForCausalLM", variant("qwen3_moe")),
    ]
}

/// Random values in every parameter, including norms and biases, so that a swapped or transposed
/// tensor changes the logits.
fn random_parameters(config: &ModelConfig, dtype: DType) -> Result<Parameters> {
    let mut parameters = Parameters::seeded(0, dtype, &Device::Cpu);
    GptModern::new(config, parameters.root())?;
    let mut rng = Rng::new(1);
    for parameter in parameters.iter() {
        let is_norm = parameter.name.contains("norm") || parameter.name.contains(".ln_");
        let mean = if is_norm { 1. } else { 0. };
        let numbers = rng.normal_tensor(parameter.var.shape(), 0.3, DType::F32, &Device::Cpu)?;
        parameter.var.set(&(numbers + mean)?.to_dtype(dtype)?)?;
    }
    Ok(parameters)
}

/// Writes a model folder and, in `check.json`, its logits when opened in `dtype`.
fn write(
    folder: &Path,
    class: &str,
    config: &ModelConfig,
    (stored, dtype): (DType, DType),
) -> Result<()> {
    let special_ids = SpecialTokenIds { bos: Some(1), eos: vec![7] };
    model_folder::save(folder, config, &random_parameters(config, stored)?, &special_ids, None)?;
    let (model, _) = GptModern::from_weights(model_folder::open(folder, dtype, &Device::Cpu)?)?;
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
fn saved_models_give_the_same_logits_in_transformers() -> Result<()> {
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
