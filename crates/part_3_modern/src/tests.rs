//! Unit tests of this part, section by section.

mod cache;
mod lessons;
mod model;
mod config_json;
mod generation_config;
mod model_folder;
mod text_stream;
mod generation;
mod chat;
mod sampler;
mod row_order;
mod gguf;
mod writer;
mod gguf_damage;
mod llama2c;
mod llama2c_tokenizer;

use candle_core::{DType, Device, Result, Tensor};
use tensor_core::ops::Gelu;
use tensor_core::{Parameters, Rng};

use crate::config::{AttentionBias, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm};
use crate::{GptModern, SlidingWindow};

const CPU: Device = Device::Cpu;

/// Model of two layers, with four query heads that share two key heads.
fn tiny() -> ModelConfig {
    let mut config = ModelConfig { vocab_size: 11, ..ModelConfig::byte_level(64, 2, 4, 16) };
    config.attention.n_kv_head = 2;
    config
}

/// One config per architectural variant, by name.
fn variants() -> Vec<(&'static str, ModelConfig)> {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = tiny();
        change(&mut config);
        config
    };
    vec![
        ("llama", tiny()),
        ("untied", with(|c| c.lm_head = LmHead::Untied)),
        ("qwen2", with(|c| c.attention.bias = AttentionBias::Qkv)),
        ("qwen3", with(|c| c.attention.qk_norm = QkNorm::PerHead)),
        ("biases", with(|c| c.attention.bias = AttentionBias::All)),
        ("mistral", with(|c| c.attention.window = Some(SlidingWindow { size: 3, sinks: 0 }))),
        ("sinks", with(|c| c.attention.window = Some(SlidingWindow { size: 2, sinks: 2 }))),
        ("layer norm", with(|c| c.norm = NormKind::Layer { eps: 1e-5 })),
        ("learned positions", with(|c| c.attention.position = PositionEncoding::Learned)),
        ("gelu", with(|c| c.mlp = Mlp::Gelu { width: 64, form: Gelu::Tanh })),
        ("wide heads", with(|c| c.attention.head_dim = 6)),
    ]
}

fn fresh(config: &ModelConfig, dtype: DType) -> Result<(GptModern, Parameters)> {
    let mut parameters = Parameters::seeded(1, dtype, &CPU);
    let model = GptModern::new(config, parameters.root())?;
    // Fresh weights are so small that a wrong mask would hardly change the logits.
    for parameter in parameters.iter().filter(|p| p.name.ends_with("proj.weight")) {
        parameter.var.set(&(parameter.var.as_tensor() * 20.)?)?;
    }
    Ok((model, parameters))
}

fn ids(b: usize, t: usize, seed: u64) -> Result<Tensor> {
    let mut rng = Rng::new(seed);
    let ids: Vec<u32> = (0..b * t).map(|_| rng.below(11) as u32).collect();
    Tensor::from_vec(ids, (b, t), &CPU)
}

/// Error message of a result that must be an error.
fn error<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}
