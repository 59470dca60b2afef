//! Reading a `config.json`. Missing keys get the defaults that transformers has for the family.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tensor_core::ops::Gelu;

use super::family::{Defaults, Family};
use super::position;
use super::unsupported::unsupported_family;
use crate::config::{
    AttentionBias, AttentionConfig, LmHead, Mlp, ModelConfig, NormKind, QkNorm, SlidingWindow,
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
    let mlp_bias = matches!(family, Family::Llama | Family::SmolLm3) && fields.flag("mlp_bias")?;
    ensure!(!mlp_bias, "`mlp_bias` is not supported");
    ensure!(
        fields.value("quantization_config").is_none(),
        "`quantization_config` is not supported: use unquantized weights, or a quantized .gguf file"
    );
    let n_layer = fields.size("num_hidden_layers")?;
    let (n_embd, n_head) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    let defaults = family.defaults(n_embd, n_head);
    let context_len =
        fields.size_or("max_position_embeddings", defaults.max_position_embeddings)?;
    let eps = fields.number_or("rms_norm_eps", 1e-6)?;
    let width = fields.size("intermediate_size")?;
    let n_kv_head =
        fields.size_or_null("num_key_value_heads", Some(defaults.num_key_value_heads))?;
    let no_rope_interval = no_rope_interval(family, &defaults, n_layer, fields)?;
    let config = ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        n_layer,
        n_embd,
        context_len,
        norm: match (family, fields.string("norm")?) {
            (Family::Custom, Some("layer")) => NormKind::Layer { eps },
            (Family::Custom, Some(other)) if other != "rms" => bail!("`norm` is `{other}`"),
            _ => NormKind::Rms { eps },
        },
        attention: AttentionConfig {
            n_head,
            n_kv_head: n_kv_head.unwrap_or(n_head),
            head_dim: fields.size_or("head_dim", defaults.head_dim)?,
            bias: attention_bias(family, fields)?,
            qk_norm: match family {
                Family::Qwen3 => QkNorm::PerHead,
                Family::Custom if fields.flag("qk_norm")? => QkNorm::PerHead,
                _ => QkNorm::None,
            },
            position: position::read(family, &defaults, context_len, fields)?,
            no_rope_interval,
            window: window(family, &defaults, n_layer, no_rope_interval, fields)?,
        },
        mlp: match (family, fields.string("hidden_act")?.unwrap_or("silu")) {
            (_, "silu") => Mlp::SwiGlu { width },
            (Family::Custom, "gelu_new") => Mlp::Gelu { width, form: Gelu::Tanh },
            (Family::Custom, "gelu") => Mlp::Gelu { width, form: Gelu::Exact },
            (_, other) => bail!("`hidden_act` is `{other}`, expected `silu`"),
        },
        lm_head: lm_head(&defaults, fields)?,
        init_std: fields.number_or("initializer_range", ModelConfig::GPT2_INIT_STD)?,
    };
    config.validate()?;
    Ok(config)
}

fn lm_head(defaults: &Defaults, fields: Fields<'_>) -> Result<LmHead> {
    Ok(match fields.value("tie_word_embeddings") {
        None => defaults.lm_head,
        Some(_) if fields.flag("tie_word_embeddings")? => LmHead::Tied,
        Some(_) => LmHead::Untied,
    })
}

fn attention_bias(family: Family, fields: Fields<'_>) -> Result<AttentionBias> {
    Ok(match family {
        Family::Mistral => AttentionBias::None,
        Family::Qwen2 => AttentionBias::Qkv,
        _ if fields.flag("attention_bias")? => AttentionBias::All,
        Family::Custom if fields.flag("qkv_bias")? => AttentionBias::Qkv,
        _ => AttentionBias::None,
    })
}

/// Interval of the layers without RoPE, which must be every n-th; `None` if there are none.
fn no_rope_interval(
    family: Family,
    defaults: &Defaults,
    n_layer: usize,
    fields: Fields<'_>,
) -> Result<Option<usize>> {
    if !matches!(family, Family::SmolLm3 | Family::Custom) {
        return Ok(None);
    }
    let Some(has_rope) = fields.value("no_rope_layers") else {
        let interval = fields.size_or_null("no_rope_layer_interval", defaults.no_rope_interval)?;
        return Ok(interval.filter(|&interval| interval <= n_layer));
    };
    let has_rope: Vec<u8> = serde_json::from_value(has_rope.clone())
        .context("`no_rope_layers` must be a list of 1 (with RoPE) and 0 (without)")?;
    let interval = has_rope.iter().position(|&has_rope| has_rope == 0).map(|first| first + 1);
    let regular = |interval: usize| {
        (1..=n_layer).map(|layer| u8::from(!layer.is_multiple_of(interval))).collect::<Vec<_>>()
    };
    ensure!(
        has_rope == interval.map_or_else(|| vec![1; n_layer], regular),
        "`no_rope_layers` must have one number per layer, which is 0 for every n-th layer: \
         other patterns are not supported"
    );
    Ok(interval)
}

/// Sliding window, which must be the same in all layers. Llama never has one, as in transformers;
/// SmolLM3 has it in the layers without RoPE.
fn window(
    family: Family,
    defaults: &Defaults,
    n_layer: usize,
    no_rope_interval: Option<usize>,
    fields: Fields<'_>,
) -> Result<Option<SlidingWindow>> {
    let size = match family {
        Family::Llama => return Ok(None),
        Family::SmolLm3 if !fields.flag("use_sliding_window")? => return Ok(None),
        Family::Qwen2 | Family::Qwen3 if !fields.flag("use_sliding_window")? => None,
        _ => fields.size_or_null("sliding_window", defaults.sliding_window)?,
    };
    let first = fields.size_or("max_window_layers", defaults.max_window_layers)?;
    let sliding = match (fields.value("layer_types"), family, size) {
        (Some(kinds), Family::Mistral | Family::Qwen2 | Family::Qwen3 | Family::SmolLm3, _) => {
            sliding_layers(kinds, n_layer)?
        }
        (_, _, None) => 0,
        (_, Family::SmolLm3, _) => no_rope_interval.map_or(0, |n| n_layer / n.max(1)),
        (_, Family::Qwen2 | Family::Qwen3, _) => n_layer.saturating_sub(first),
        _ => n_layer,
    };
    if sliding == 0 {
        return Ok(None);
    }
    ensure!(
        sliding == n_layer,
        "only {sliding} of {n_layer} layers have a window (see `layer_types` and \
         `max_window_layers`): all layers or no layer must have one"
    );
    let size = size.context("`layer_types` has sliding layers, but `sliding_window` is not set")?;
    Ok(Some(SlidingWindow { size, sinks: fields.size_or("attention_sinks", 0)? }))
}

/// Number of layers with a window, according to `layer_types`.
fn sliding_layers(kinds: &Value, n_layer: usize) -> Result<usize> {
    let kinds = kinds.as_array().context("`layer_types` must be a list")?;
    ensure!(kinds.len() == n_layer, "{n_layer} layers have {} `layer_types`", kinds.len());
    let supported = ["full_attention", "sliding_attention"];
    let other = kinds.iter().find(|kind| !supported.iter().any(|name| kind == name));
    if let Some(other) = other {
        bail!("`layer_types` has {other}: expected full_attention or sliding_attention");
    }
    Ok(kinds.iter().filter(|&kind| kind == "sliding_attention").count())
}
