//! Position encoding in a `config.json`. Transformers 4 reads `rope_theta` and `rope_scaling`,
//! transformers 5 `rope_parameters`; we read and write both.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::defaults::Defaults;
use super::family::Family;
use crate::config::{
    AttentionConfig, Llama3Scaling, LongScaling, ModelConfig, PairFactors, PositionEncoding,
    RopeScaling, YarnScaling,
};
use crate::json_fields::Fields;
use crate::rope_scaling::yarn_attention_factor;

/// Types of Gemma 3's layers, each with `rope_parameters` of its own.
const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

/// Reads the position encoding of a model of `context_len` tokens.
pub(super) fn read(
    family: Family,
    defaults: &Defaults,
    context_len: usize,
    fields: Fields<'_>,
) -> Result<PositionEncoding> {
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
    let Some(parameters) = parameters.as_ref().map(Fields) else {
        return Ok(match family == Family::Custom && fields.value("rope_theta").is_none() {
            true => PositionEncoding::Learned { offset: fields.size_or("position_offset", 0)? },
            false => PositionEncoding::Rope { base, scaling: None },
        });
    };
    let by_layer = parameters.0.values().any(Value::is_object);
    ensure!(!by_layer, "`rope_parameters` that differ between layers are not supported");
    let scaling = read_scaling(family, context_len, fields, parameters)?;
    Ok(PositionEncoding::Rope { base: parameters.number_or("rope_theta", base)?, scaling })
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

/// Kind of a RoPE scaling; `None` if there is none. `type` is an older name of the key.
fn scaling_type(parameters: Fields<'_>) -> Result<Option<&str>> {
    let kind = parameters.string("rope_type")?.or(parameters.string("type")?);
    ensure!(
        kind.is_some() || parameters.value("factor").is_none(),
        "RoPE has a scaling `factor`, but `rope_type` is missing"
    );
    Ok(kind.filter(|&kind| kind != "default"))
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
pub(super) fn rotary_fraction(family: Family, fields: Fields<'_>) -> Result<f64> {
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

/// Unused rows at the start of the table of learned positions.
pub(super) fn offset(position: PositionEncoding) -> usize {
    match position {
        PositionEncoding::Learned { offset } => offset,
        PositionEncoding::Rope { .. } => 0,
    }
}

fn read_scaling(
    family: Family,
    context_len: usize,
    fields: Fields<'_>,
    parameters: Fields<'_>,
) -> Result<Option<RopeScaling>> {
    let factor = || parameters.number("factor");
    let key = "original_max_position_embeddings";
    // The key outside of the parameters has precedence, and Phi-3 always has it.
    let original_context_len = match family {
        Family::Phi3 => fields.size_or(key, 4096)?,
        _ => fields.size_or(key, parameters.size_or(key, context_len)?)?,
    };
    Ok(Some(match scaling_type(parameters)? {
        None => return Ok(None),
        // Phi-3's older files call it `su` or `yarn`.
        Some("longrope" | "su") => read_long(context_len, original_context_len, parameters)?,
        Some("yarn") if family == Family::Phi3 => {
            read_long(context_len, original_context_len, parameters)?
        }
        Some("linear") => RopeScaling::Linear { factor: factor()? },
        // Transformers ignores `original_max_position_embeddings` here.
        Some("dynamic") => {
            RopeScaling::Dynamic { factor: factor()?, original_context_len: context_len }
        }
        Some("yarn") => {
            let truncate = parameters.value("truncate");
            ensure!(
                truncate.is_none_or(|value| *value == true),
                "`truncate` of the RoPE scaling is set, which is supported only as true"
            );
            RopeScaling::Yarn(YarnScaling {
                factor: factor()?,
                attention_factor: read_attention_factor(parameters)?,
                beta_fast: parameters.number_or("beta_fast", 32.)?,
                beta_slow: parameters.number_or("beta_slow", 1.)?,
                original_context_len,
            })
        }
        Some("llama3") => RopeScaling::Llama3(Llama3Scaling {
            factor: factor()?,
            low_freq_factor: parameters.number("low_freq_factor")?,
            high_freq_factor: parameters.number("high_freq_factor")?,
            original_context_len,
        }),
        Some(other) => bail!(
            "RoPE scaling `{other}` is not supported: expected default, linear, dynamic, yarn, \
             longrope or llama3"
        ),
    }))
}

fn read_long(
    context_len: usize,
    original_context_len: usize,
    parameters: Fields<'_>,
) -> Result<RopeScaling> {
    let factors = |key: &str| {
        let list = parameters.value(key).and_then(Value::as_array);
        let numbers = list.and_then(|list| list.iter().map(Value::as_f64).collect());
        let numbers: Vec<f64> =
            numbers.with_context(|| format!("`{key}` of RoPE must be a list of numbers"))?;
        PairFactors::new(&numbers)
            .with_context(|| format!("`{key}` of RoPE has {} numbers", numbers.len()))
    };
    let extension = context_len as f64 / original_context_len as f64;
    let extension = parameters.number_or("factor", extension)?;
    let default = LongScaling::default_attention_factor(extension, original_context_len);
    Ok(RopeScaling::Long(LongScaling {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        attention_factor: parameters.number_or("attention_factor", default)?,
        original_context_len,
    }))
}

/// YaRN's attention factor: given, or the quotient of those of `mscale` and `mscale_all_dim`.
fn read_attention_factor(parameters: Fields<'_>) -> Result<Option<f64>> {
    if parameters.value("attention_factor").is_some() {
        return parameters.number("attention_factor").map(Some);
    }
    let [numerator, denominator] =
        [parameters.number_or("mscale", 0.)?, parameters.number_or("mscale_all_dim", 0.)?];
    if numerator == 0. || denominator == 0. {
        return Ok(None); // transformers treats 0 as missing, too
    }
    let factor = parameters.number("factor")?;
    let [numerator, denominator] =
        [numerator, denominator].map(|mscale| yarn_attention_factor(factor, mscale));
    Ok(Some(numerator / denominator))
}

/// Adds the keys of `config`'s position encoding to a `config.json`.
pub(super) fn write(json: &mut Value, config: &ModelConfig) {
    let attention = config.attention;
    let PositionEncoding::Rope { base, scaling } = attention.position else { return };
    let mut parameters = scaling.map_or_else(|| json!({ "rope_type": "default" }), scaling_json);
    if let Some(RopeScaling::Long(long)) = scaling {
        json["original_max_position_embeddings"] = json!(long.original_context_len);
    }
    if attention.rotary_fraction != 1. {
        json["partial_rotary_factor"] = json!(attention.rotary_fraction);
        parameters["partial_rotary_factor"] = json!(attention.rotary_fraction);
    }
    json["rope_theta"] = json!(base); // read by transformers 4
    if scaling.is_some() {
        json["rope_scaling"] = parameters.clone();
    }
    parameters["rope_theta"] = json!(base);
    json["rope_parameters"] = parameters; // read by transformers 5
}

/// Changes the keys that [`write()`] has added to those of Gemma 3, which has other frequencies in
/// the layers with a window.
pub(super) fn write_by_layer_type(json: &mut Value, attention: AttentionConfig) {
    let PositionEncoding::Rope { base, .. } = attention.position else { return };
    let local = attention.local_rope_base.unwrap_or(base);
    json["rope_local_base_freq"] = json!(local); // read by transformers 4
    json["rope_parameters"] = json!({
        "full_attention": json["rope_parameters"].clone(),
        "sliding_attention": { "rope_type": "default", "rope_theta": local },
    });
}

fn scaling_json(scaling: RopeScaling) -> Value {
    match scaling {
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor, .. } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Yarn(yarn) => {
            let mut parameters = json!({
                "rope_type": "yarn",
                "factor": yarn.factor,
                "beta_fast": yarn.beta_fast,
                "beta_slow": yarn.beta_slow,
                "original_max_position_embeddings": yarn.original_context_len,
            });
            if let Some(factor) = yarn.attention_factor {
                parameters["attention_factor"] = json!(factor);
            }
            parameters
        }
        RopeScaling::Long(long) => json!({
            "rope_type": "longrope",
            "short_factor": long.short_factor.as_slice(),
            "long_factor": long.long_factor.as_slice(),
            "attention_factor": long.attention_factor,
            "original_max_position_embeddings": long.original_context_len,
        }),
        RopeScaling::Llama3(llama3) => json!({
            "rope_type": "llama3",
            "factor": llama3.factor,
            "low_freq_factor": llama3.low_freq_factor,
            "high_freq_factor": llama3.high_freq_factor,
            "original_max_position_embeddings": llama3.original_context_len,
        }),
    }
}
