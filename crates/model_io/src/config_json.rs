//! `config.json`: a [`ModelConfig`] in the format of transformers.
//!
//! Llama, Mistral, Qwen2, Qwen3 and SmolLM3 are special cases of our configuration and are written
//! under their names. Every other model gets `model_type: llm_from_scratch`, which transformers
//! refuses instead of misreading it.
//!
//! What we write, transformers 4 and 5 both read.

mod family;
mod position;
mod read;
mod unsupported;

use family::Family;
pub use read::from_json;
use serde_json::{Value, json};
use tensor_core::ops::Gelu;
pub(crate) use unsupported::unsupported_family;

use crate::config::{AttentionBias, LmHead, Mlp, ModelConfig, NormKind, QkNorm};

/// Content of `config.json`, without special token ids and dtype.
pub fn to_json(config: &ModelConfig) -> Value {
    to_family_json(config, Family::of(config))
}

/// Content of `config.json` under our own `model_type`, for a model that resembles a known family
/// but that no transformers class would read correctly.
pub fn to_custom_json(config: &ModelConfig) -> Value {
    to_family_json(config, Family::Custom)
}

fn to_family_json(config: &ModelConfig, family: Family) -> Value {
    let attention = config.attention;
    let (NormKind::Rms { eps } | NormKind::Layer { eps }) = config.norm;
    let (Mlp::SwiGlu { width } | Mlp::Gelu { width, .. }) = config.mlp;
    let activation = match config.mlp {
        Mlp::SwiGlu { .. } => "silu",
        Mlp::Gelu { form: Gelu::Tanh, .. } => "gelu_new",
        Mlp::Gelu { form: Gelu::Exact, .. } => "gelu",
    };
    let mut json = json!({
        "architectures": [family.class()],
        "model_type": family.name(),
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_len,
        "num_hidden_layers": config.n_layer,
        "hidden_size": config.n_embd,
        "num_attention_heads": attention.n_head,
        "num_key_value_heads": attention.n_kv_head,
        "head_dim": attention.head_dim,
        "intermediate_size": width,
        "hidden_act": activation,
        "rms_norm_eps": eps,
        "tie_word_embeddings": config.lm_head == LmHead::Tied,
        "sliding_window": attention.window.map(|window| window.size),
        "attention_bias": attention.bias == AttentionBias::All,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    });
    position::write(&mut json, attention.position);
    if attention.no_rope_interval.is_some() {
        let has_rope = (0..config.n_layer).map(|layer| u8::from(attention.has_rope(layer)));
        json["no_rope_layers"] = has_rope.collect();
        json["no_rope_layer_interval"] = json!(attention.no_rope_interval);
    }
    if family == Family::SmolLm3 {
        json["pad_token_id"] = Value::Null; // a default of 128,004 may exceed the vocabulary
    }
    if family == Family::Custom {
        add_custom_keys(&mut json, config);
    }
    json
}

/// Adds the keys that a file of our own `model_type` has besides those of transformers: design
/// choices that otherwise follow from the family.
pub fn add_custom_keys(json: &mut Value, config: &ModelConfig) {
    let attention = config.attention;
    json["norm"] = json!(if matches!(config.norm, NormKind::Rms { .. }) { "rms" } else { "layer" });
    json["attention_sinks"] = json!(attention.window.map_or(0, |window| window.sinks));
    json["qkv_bias"] = json!(attention.bias != AttentionBias::None);
    json["qk_norm"] = json!(attention.qk_norm == QkNorm::PerHead);
}
