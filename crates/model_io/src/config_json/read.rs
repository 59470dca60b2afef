//! Reading a `config.json`. Missing keys get the defaults that transformers has for the family.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tensor_core::ops::Gelu;

use super::family::{Defaults, Family};
use crate::config::{
    AttentionBias, AttentionConfig, Llama3Scaling, LmHead, Mlp, ModelConfig, NormKind,
    PositionEncoding, QkNorm, SlidingWindow,
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
        let supported = Family::ALL.map(Family::name).join(", ");
        format!("model_type `{name}` is not supported: expected one of {supported}")
    })?;
    ensure!(family != Family::Llama || !fields.flag("mlp_bias")?, "`mlp_bias` is not supported");
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
            position: position(family, context_len, fields)?,
            window: window(family, &defaults, n_layer, fields)?,
        },
        mlp: match (family, fields.string("hidden_act")?.unwrap_or("silu")) {
            (_, "silu") => Mlp::SwiGlu { width },
            (Family::Custom, "gelu_new") => Mlp::Gelu { width, form: Gelu::Tanh },
            (Family::Custom, "gelu") => Mlp::Gelu { width, form: Gelu::Exact },
            (_, other) => bail!("`hidden_act` is `{other}`, expected `silu`"),
        },
        lm_head: if fields.flag("tie_word_embeddings")? { LmHead::Tied } else { LmHead::Untied },
        init_std: fields.number_or("initializer_range", ModelConfig::GPT2_INIT_STD)?,
    };
    config.validate()?;
    Ok(config)
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

fn position(family: Family, context_len: usize, fields: Fields<'_>) -> Result<PositionEncoding> {
    let parameters = match fields.object("rope_scaling")? {
        Some(older) => Some(older), // the older key has precedence in transformers, too
        None => fields.object("rope_parameters")?,
    };
    for fields in [Some(fields), parameters].into_iter().flatten() {
        let rotary_fraction = fields.number_or("partial_rotary_factor", 1.)?;
        ensure!(
            rotary_fraction == 1.,
            "`partial_rotary_factor` is {rotary_fraction}: only 1 (whole heads) is supported"
        );
    }
    let base = fields.number_or("rope_theta", 10_000.)?;
    let Some(parameters) = parameters else {
        return Ok(match family == Family::Custom && fields.value("rope_theta").is_none() {
            true => PositionEncoding::Learned,
            false => PositionEncoding::Rope { base, scaling: None },
        });
    };
    let by_layer = parameters.0.values().any(Value::is_object);
    ensure!(!by_layer, "`rope_parameters` that differ between layers are not supported");
    let scaling = match parameters.string("rope_type")?.or(parameters.string("type")?) {
        None if parameters.value("factor").is_some() => {
            bail!("RoPE has a scaling `factor`, but `rope_type` is missing")
        }
        None | Some("default") => None,
        Some("llama3") => Some(Llama3Scaling {
            factor: parameters.number("factor")?,
            low_freq_factor: parameters.number("low_freq_factor")?,
            high_freq_factor: parameters.number("high_freq_factor")?,
            original_context_len: parameters
                .size_or("original_max_position_embeddings", context_len)?,
        }),
        Some(other) => {
            bail!("RoPE scaling `{other}` is not supported: expected `default` or `llama3`")
        }
    };
    Ok(PositionEncoding::Rope { base: parameters.number_or("rope_theta", base)?, scaling })
}

/// Sliding window, which must be the same in all layers. Llama never has one, as in transformers.
fn window(
    family: Family,
    defaults: &Defaults,
    n_layer: usize,
    fields: Fields<'_>,
) -> Result<Option<SlidingWindow>> {
    let size = match family {
        Family::Llama => return Ok(None),
        Family::Qwen2 | Family::Qwen3 if !fields.flag("use_sliding_window")? => None,
        _ => fields.size_or_null("sliding_window", defaults.sliding_window)?,
    };
    let first = fields.size_or("max_window_layers", defaults.max_window_layers)?;
    let sliding = match (fields.value("layer_types"), family, size) {
        (Some(kinds), Family::Mistral | Family::Qwen2 | Family::Qwen3, _) => {
            sliding_layers(kinds, n_layer)?
        }
        (_, _, None) => 0,
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
