//! Position encoding in a `config.json`. Transformers 4 reads `rope_theta` and `rope_scaling`,
//! transformers 5 `rope_parameters`; we read and write both.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::defaults::Defaults;
use super::family::Family;
use super::layer_types::layer_interval;
use super::rope_scaling::{self, scaling_type};
use crate::config::{AttentionConfig, ModelConfig, PositionEncoding, RopeParameters, RopeScaling};
use crate::json_fields::Fields;

/// Types of Gemma 3's layers, each with `rope_parameters` of its own.
const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

/// Reads the position encoding of a model of `n_layer` layers for `context_len` tokens.
pub(super) fn read(
    family: Family,
    defaults: &Defaults,
    [context_len, n_layer]: [usize; 2],
    fields: Fields<'_>,
) -> Result<PositionEncoding> {
    let rotary_fraction = rotary_fraction(family, fields)?;
    let no_rope_interval = no_rope_interval(family, defaults, n_layer, fields)?;
    let newer = match family {
        Family::Gemma3 => of_layer_type("full_attention", fields)?,
        _ => fields.object("rope_parameters")?,
    };
    // The older key has precedence in transformers, too.
    let older = fields.object("rope_scaling")?;
    let parameters = match family {
        Family::Gemma3 => merge(newer, older),
        _ => older.or(newer).map(|parameters| parameters.0.clone()),
    };
    let mut base = fields.number_or("rope_theta", defaults.rope_theta)?;
    base = fields.number_or("rotary_emb_base", base)?; // GPT-NeoX's name
    let mut rope =
        RopeParameters { rotary_fraction, no_rope_interval, ..RopeParameters::new(base) };
    let Some(parameters) = parameters.as_ref().map(Fields) else {
        return Ok(match family == Family::Custom && fields.value("rope_theta").is_none() {
            true => PositionEncoding::Learned { offset: fields.size_or("position_offset", 0)? },
            false => PositionEncoding::Rope(rope),
        });
    };
    let by_layer = parameters.0.values().any(Value::is_object);
    ensure!(!by_layer, "`rope_parameters` that differ between layers are not supported");
    rope.scaling = rope_scaling::read(family, context_len, fields, parameters)?;
    rope.base = parameters.number_or("rope_theta", base)?;
    Ok(PositionEncoding::Rope(rope))
}

/// Parameters of the layers of Gemma 3 with full attention: those of `newer`, and in their place
/// those of `older`, as far as it has them.
fn merge(newer: Option<Fields<'_>>, older: Option<Fields<'_>>) -> Option<Map<String, Value>> {
    let mut merged = newer.map_or_else(Map::new, |newer| newer.0.clone());
    if let Some(older) = older {
        if older.value("type").is_some() {
            merged.remove("rope_type"); // the same key under its later name
        }
        merged.extend(older.0.clone());
    }
    (!merged.is_empty()).then_some(merged)
}

/// The `rope_parameters` of a type of layers of Gemma 3; `None` if the file has none.
fn of_layer_type<'a>(layer_type: &str, fields: Fields<'a>) -> Result<Option<Fields<'a>>> {
    let Some(parameters) = fields.object("rope_parameters")? else { return Ok(None) };
    let by_layer = parameters.0.values().all(|value| value.is_object() || value.is_null());
    ensure!(
        by_layer,
        "`rope_parameters` must have an object for `full_attention` and one for `sliding_attention`"
    );
    parameters.object(layer_type)
}

/// θ in the layers of Gemma 3 that have a window; they do not scale RoPE.
pub(super) fn local_base(fields: Fields<'_>) -> Result<f64> {
    let base = fields.number_or("rope_local_base_freq", 10_000.)?;
    let Some(parameters) = of_layer_type("sliding_attention", fields)? else { return Ok(base) };
    if let Some(kind) = scaling_type(parameters)? {
        bail!("RoPE scaling `{kind}` of `sliding_attention` is not supported: expected default");
    }
    parameters.number_or("rope_theta", base)
}

/// Fraction of a head that RoPE rotates.
fn rotary_fraction(family: Family, fields: Fields<'_>) -> Result<f64> {
    let default = if family == Family::GptNeoX { 0.25 } else { 1. };
    let mut fraction = fields.number_or("rotary_pct", default)?;
    let [newer, local] = match family {
        Family::Gemma3 => LAYER_TYPES.map(|layer_type| of_layer_type(layer_type, fields)),
        _ => [fields.object("rope_parameters"), Ok(None)],
    };
    let supported = matches!(family, Family::GptNeoX | Family::Phi3 | Family::Custom);
    let objects = [Some(fields), newer?, local?, fields.object("rope_scaling")?];
    for fields in objects.into_iter().flatten() {
        fraction = fields.number_or("partial_rotary_factor", fraction)?;
        ensure!(
            supported || fraction == 1.,
            "`partial_rotary_factor` is {fraction}: only 1 (whole heads) is supported in this \
             family"
        );
    }
    Ok(fraction)
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
    let is_without: Vec<bool> = has_rope.iter().map(|&has_rope| has_rope == 0).collect();
    let expected =
        "`no_rope_layers` must have one number per layer, which is 0 for every n-th layer";
    layer_interval(&is_without, n_layer, expected)
}

/// Unused rows at the start of the table of learned positions.
pub(super) fn offset(position: PositionEncoding) -> usize {
    match position {
        PositionEncoding::Learned { offset } => offset,
        PositionEncoding::Rope(_) => 0,
    }
}

/// Adds the keys of `config`'s position encoding to a `config.json`.
pub(super) fn write(json: &mut Value, config: &ModelConfig) {
    let PositionEncoding::Rope(rope) = config.attention.position else { return };
    let RopeParameters { base, scaling, rotary_fraction, .. } = rope;
    let mut parameters =
        scaling.map_or_else(|| json!({ "rope_type": "default" }), rope_scaling::write);
    if let Some(RopeScaling::Long(long)) = scaling {
        json["original_max_position_embeddings"] = json!(long.original_context_len);
    }
    if rotary_fraction != 1. {
        json["partial_rotary_factor"] = json!(rotary_fraction);
        parameters["partial_rotary_factor"] = json!(rotary_fraction);
    }
    json["rope_theta"] = json!(base); // read by transformers 4
    if scaling.is_some() {
        json["rope_scaling"] = parameters.clone();
    }
    parameters["rope_theta"] = json!(base);
    json["rope_parameters"] = parameters; // read by transformers 5
}

/// Adds the list of layers with and without RoPE, if `config` has layers without.
pub(super) fn write_no_rope_layers(json: &mut Value, config: &ModelConfig) {
    let PositionEncoding::Rope(rope) = config.attention.position else { return };
    let Some(interval) = rope.no_rope_interval else { return };
    let has_rope = (0..config.n_layer).map(|layer| u8::from(rope.has_rope(layer)));
    json["no_rope_layers"] = has_rope.collect();
    json["no_rope_layer_interval"] = json!(interval);
}

/// Changes the keys that [`write()`] has added to those of Gemma 3, which has other frequencies in
/// the layers with a window.
pub(super) fn write_by_layer_type(json: &mut Value, attention: AttentionConfig) {
    let PositionEncoding::Rope(RopeParameters { base, .. }) = attention.position else { return };
    let local = attention.window.and_then(|window| window.local_rope_base).unwrap_or(base);
    json["rope_local_base_freq"] = json!(local); // read by transformers 4
    json["rope_parameters"] = json!({
        "full_attention": json["rope_parameters"].clone(),
        "sliding_attention": { "rope_type": "default", "rope_theta": local },
    });
}
