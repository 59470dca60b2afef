//! `config.json`: a [`ModelConfig`] in the format of transformers.
//!
//! The model families of transformers are special cases of our configuration and are written under
//! their names. Every other model gets `model_type: llm_from_scratch`, which transformers refuses
//! instead of misreading it.
//!
//! What we write, transformers 5 and the later releases of transformers 4 both read. The earlier
//! ones do not know all families, and ignore two keys without a word:
//!
//! ```text
//! rope_scaling   before 4.48 in Mistral, Mixtral, Gemma and Gemma 2, before 4.45 in Qwen 2
//! layer_types    of a Gemma 2 that has full attention in other layers than every second one
//! ```

mod defaults;
mod family;
mod gemma;
mod gpt2;
mod gpt_neox;
mod layer_types;
mod llama;
mod mlp;
mod opt;
mod position;
mod rope_scaling;
mod unsupported;

use anyhow::{Context, Result, ensure};
pub(crate) use family::Family;
use serde_json::{Value, json};
pub(crate) use unsupported::unsupported_family;

use crate::config::{
    AttentionBias, BlockLayout, ModelConfig, NormKind, QkNorm, QkvProjections, TokenEmbedding,
};
use crate::json_fields::Fields;

/// Reads a `config.json`. The sizes that every model has are required; the rest may be missing, as
/// in transformers.
///
/// # Errors
/// When a key is invalid or describes a model that is not supported; names the key.
pub fn from_json(json: &Value) -> Result<ModelConfig> {
    let fields = Fields(json.as_object().context("expected a JSON object")?);
    let name = fields.string("model_type")?.unwrap_or("none");
    let family = Family::ALL.into_iter().find(|family| family.name() == name);
    let family = family.with_context(|| {
        format!("model_type {}", unsupported_family(name, &Family::ALL.map(Family::name)))
    })?;
    ensure!(
        fields.value("quantization_config").is_none(),
        "`quantization_config` is not supported: use unquantized weights, or a quantized .gguf file"
    );
    let config = match family {
        Family::Gpt2 => gpt2::read(fields),
        Family::Opt => opt::read(fields),
        Family::GptNeoX => gpt_neox::read(fields),
        Family::Gemma2 | Family::Gemma3 => gemma::read(family, fields),
        Family::Custom => gemma::read_custom_keys(llama::read(family, fields)?, fields),
        _ => llama::read(family, fields),
    }?;
    config.validate()?;
    Ok(config)
}

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
    let mut json = match family {
        Family::Gpt2 => gpt2::write(config),
        Family::Opt => opt::write(config),
        Family::GptNeoX => gpt_neox::write(config),
        Family::Gemma2 => gemma::write_gemma_2(config),
        Family::Gemma3 => gemma::write_gemma_3(config),
        _ => llama::write(config),
    };
    json["architectures"] = json!([family.class()]);
    json["model_type"] = json!(family.name());
    json["vocab_size"] = json!(config.vocab_size);
    match family {
        // The defaults of these may exceed the vocabulary.
        Family::SmolLm3 | Family::Phi3 => json["pad_token_id"] = Value::Null,
        Family::Custom => add_custom_keys(&mut json, config),
        _ => {}
    }
    json
}

/// Adds the keys that a file of our own `model_type` has besides those of transformers: design
/// choices that otherwise follow from the family.
pub fn add_custom_keys(json: &mut Value, config: &ModelConfig) {
    let attention = config.attention;
    json["norm"] = json!(match config.norm {
        NormKind::Rms { .. } => "rms",
        NormKind::ZeroCenteredRms { .. } => "zero_centered_rms",
        NormKind::Layer { .. } => "layer",
    });
    json["block"] = json!(match config.block {
        BlockLayout::PreNorm => "pre_norm",
        BlockLayout::PostNorm => "post_norm",
        BlockLayout::Parallel => "parallel",
        BlockLayout::SandwichNorm => "sandwich_norm",
    });
    json["mlp"] = json!(mlp::custom_name(config.mlp));
    json["embedding_scale"] = json!(config.embedding == TokenEmbedding::Scaled);
    json["word_embed_proj_dim"] = json!(config.embedding_width());
    json["position_offset"] = json!(position::offset(attention.position));
    json["qkv_projections"] = json!(match attention.projections {
        QkvProjections::Separate => "separate",
        QkvProjections::Fused => "fused",
        QkvProjections::FusedPerHead => "fused_per_head",
    });
    json["attention_sinks"] = json!(attention.sliding_window().map_or(0, |window| window.sinks));
    json["qkv_bias"] = json!(attention.bias != AttentionBias::None);
    json["qk_norm"] = json!(attention.logits.qk_norm == QkNorm::PerHead);
    gemma::add_custom_keys(json, config);
}
