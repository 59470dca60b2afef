//! `config.json` of Gemma 2 (<https://arxiv.org/abs/2408.00118>) and of Gemma 3's text models
//! (<https://arxiv.org/abs/2503.19786>): Llama's keys, and some of their own. Files of our own
//! `model_type` have the latter, too.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::defaults::Defaults;
use super::family::Family;
use super::layer_types::{layer_interval, sliding_layers};
use super::llama;
use super::mlp::activation;
use super::position;
use crate::config::{
    LayerType, LayerWindow, ModelConfig, PositionEncoding, RopeParameters, SlidingWindow,
};
use crate::json_fields::Fields;

/// Value of `query_pre_attn_scalar` in a file without it.
const QUERY_PRE_ATTN_SCALAR: usize = 256;
/// Values of `attn_logit_softcapping` and `final_logit_softcapping` in a file of Gemma 2 without
/// them.
const GEMMA_2_SOFTCAPS: [f64; 2] = [50., 30.];

/// Reads the `config.json` of Gemma 2 or 3.
pub(super) fn read(family: Family, fields: Fields<'_>) -> Result<ModelConfig> {
    let mut config = llama::read(family, fields)?;
    let attention = &mut config.attention;
    let defaults = family.defaults(config.n_embd, attention.n_head);
    let [attention_softcap, final_softcap] = match family {
        Family::Gemma2 => GEMMA_2_SOFTCAPS.map(Some),
        _ => [None; 2],
    };
    let logits = &mut attention.logits;
    logits.softcap = fields.number_or_null("attn_logit_softcapping", attention_softcap)?;
    ensure!(
        family == Family::Gemma2 || logits.softcap.is_none(),
        "`attn_logit_softcapping` must be null: transformers ignores it in Gemma 3"
    );
    config.logit_softcap = fields.number_or_null("final_logit_softcapping", final_softcap)?;
    let scalar = fields.size_or("query_pre_attn_scalar", QUERY_PRE_ATTN_SCALAR)?;
    logits.query_pre_attn_scalar = Some(scalar).filter(|&scalar| scalar != attention.head_dim);
    attention.window = window(family, &defaults, config.n_layer, fields)?;
    if family == Family::Gemma3
        && let Some(window) = &mut attention.window
    {
        let base = position::local_base(fields)?;
        let is_same = attention.position == PositionEncoding::rope(base);
        window.local_rope_base = Some(base).filter(|_| !is_same);
    }
    Ok(config)
}

/// `config` with the keys that files of our own `model_type` have in common with these families. A
/// choice that changes nothing is none, as in files of the families.
pub(super) fn read_custom_keys(mut config: ModelConfig, fields: Fields<'_>) -> Result<ModelConfig> {
    let number = |key: &str| fields.number_or_null(key, None);
    let interval = fields.size_or_null("full_attention_interval", None)?;
    let local_rope_base = number("rope_local_base_freq")?;
    let rope = config.attention.position.rope_parameters();
    let is_other = |local: f64| rope.is_none_or(|rope| rope != RopeParameters::new(local));
    config.attention.window = match (config.attention.window, interval) {
        (None, None) => None,
        (None, Some(_)) => {
            bail!("some layers are to have a sliding window, but its size is not given")
        }
        (Some(_), Some(1)) => None, // no layer has it
        (Some(window), interval) => Some(LayerWindow {
            full_attention_interval: interval.filter(|&interval| interval <= config.n_layer),
            local_rope_base: local_rope_base.filter(|&local| is_other(local)),
            ..window
        }),
    };
    let scalar = fields.size_or_null("query_pre_attn_scalar", None)?;
    let head_dim = config.attention.head_dim;
    let logits = &mut config.attention.logits;
    logits.query_pre_attn_scalar = scalar.filter(|&scalar| scalar != head_dim);
    logits.softcap = number("attn_logit_softcapping")?;
    config.logit_softcap = number("final_logit_softcapping")?;
    Ok(config)
}

/// Window of the sliding layers, and which layers have full attention instead.
fn window(
    family: Family,
    defaults: &Defaults,
    n_layer: usize,
    fields: Fields<'_>,
) -> Result<Option<LayerWindow>> {
    let interval = match (fields.value("layer_types"), family) {
        (Some(kinds), _) => full_attention_interval(kinds, n_layer)?,
        (None, Family::Gemma2) => Some(2),
        (None, _) => Some(fields.size_or("sliding_window_pattern", 6)?),
    };
    let interval = interval.filter(|&interval| interval <= n_layer);
    if interval == Some(1) {
        return Ok(None); // no layer has a window
    }
    let size = fields.size_or_null("sliding_window", defaults.sliding_window)?;
    let size = size.context("some layers have a sliding window, but `sliding_window` is null")?;
    let window = SlidingWindow { size, sinks: 0 };
    Ok(Some(LayerWindow { full_attention_interval: interval, ..window.into() }))
}

/// n if every n-th layer of `layer_types` has full attention, `None` if no layer has.
fn full_attention_interval(layer_types: &Value, n_layer: usize) -> Result<Option<usize>> {
    let is_sliding = sliding_layers(layer_types, n_layer)?;
    let is_full: Vec<bool> = is_sliding.into_iter().map(|is_sliding| !is_sliding).collect();
    let expected = "`layer_types` must have `full_attention` in every n-th layer and \
                    `sliding_attention` in the others";
    layer_interval(&is_full, n_layer, expected)
}

/// Keys of `config` in a file of Gemma 2.
pub(super) fn write_gemma_2(config: &ModelConfig) -> Value {
    let attention = config.attention;
    let mut json = llama::write(config);
    let layer_types = (0..config.n_layer).map(|layer| match attention.layer_type(layer) {
        LayerType::FullAttention => json!("full_attention"),
        LayerType::SlidingAttention => json!("sliding_attention"),
    });
    // Ignored by early releases of transformers 4, in which every second layer has a window.
    json["layer_types"] = layer_types.collect();
    // Transformers computes the mask of a window even if no layer has one.
    let size = attention.sliding_window().map_or(config.context_len, |window| window.size);
    json["sliding_window"] = json!(size);
    json["hidden_activation"] = json!(activation(config.mlp));
    json["query_pre_attn_scalar"] =
        json!(attention.logits.query_pre_attn_scalar.unwrap_or(attention.head_dim));
    json["attn_logit_softcapping"] = json!(attention.logits.softcap);
    json["final_logit_softcapping"] = json!(config.logit_softcap);
    json
}

/// Keys of `config` in a file of Gemma 3.
pub(super) fn write_gemma_3(config: &ModelConfig) -> Value {
    let attention = config.attention;
    let mut json = write_gemma_2(config);
    // Transformers 4 first had this key alone.
    let interval = match attention.window {
        Some(window) => window.full_attention_interval.unwrap_or(config.n_layer.saturating_add(1)),
        None => 1,
    };
    json["sliding_window_pattern"] = json!(interval);
    json["use_bidirectional_attention"] = json!(false);
    position::write_by_layer_type(&mut json, attention);
    json
}

/// Adds the keys of these families to a file of our own `model_type`.
pub(super) fn add_custom_keys(json: &mut Value, config: &ModelConfig) {
    let (window, logits) = (config.attention.window, config.attention.logits);
    json["full_attention_interval"] =
        json!(window.and_then(|window| window.full_attention_interval));
    json["rope_local_base_freq"] = json!(window.and_then(|window| window.local_rope_base));
    json["query_pre_attn_scalar"] = json!(logits.query_pre_attn_scalar);
    json["attn_logit_softcapping"] = json!(logits.softcap);
    json["final_logit_softcapping"] = json!(config.logit_softcap);
}
