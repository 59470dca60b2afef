//! Position encoding in a `config.json`. Transformers 4 reads `rope_theta` and `rope_scaling`,
//! transformers 5 `rope_parameters`; we read and write both.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::family::{Defaults, Family};
use crate::config::{Llama3Scaling, PositionEncoding, RopeScaling, YarnScaling};
use crate::json_fields::Fields;
use crate::rope_scaling::yarn_attention_factor;

/// Reads the position encoding of a model of `context_len` tokens.
pub(super) fn read(
    family: Family,
    defaults: &Defaults,
    context_len: usize,
    fields: Fields<'_>,
) -> Result<PositionEncoding> {
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
    let base = fields.number_or("rope_theta", defaults.rope_theta)?;
    let Some(parameters) = parameters else {
        return Ok(match family == Family::Custom && fields.value("rope_theta").is_none() {
            true => PositionEncoding::Learned,
            false => PositionEncoding::Rope { base, scaling: None },
        });
    };
    let by_layer = parameters.0.values().any(Value::is_object);
    ensure!(!by_layer, "`rope_parameters` that differ between layers are not supported");
    let scaling = read_scaling(parameters, context_len)?;
    Ok(PositionEncoding::Rope { base: parameters.number_or("rope_theta", base)?, scaling })
}

fn read_scaling(parameters: Fields<'_>, context_len: usize) -> Result<Option<RopeScaling>> {
    let factor = || parameters.number("factor");
    let original_context_len =
        parameters.size_or("original_max_position_embeddings", context_len)?;
    Ok(Some(match parameters.string("rope_type")?.or(parameters.string("type")?) {
        None if parameters.value("factor").is_some() => {
            bail!("RoPE has a scaling `factor`, but `rope_type` is missing")
        }
        None | Some("default") => return Ok(None),
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
            "RoPE scaling `{other}` is not supported: expected default, linear, dynamic, yarn or \
             llama3"
        ),
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

/// Adds the keys of `position` to a `config.json`.
pub(super) fn write(json: &mut Value, position: PositionEncoding) {
    let PositionEncoding::Rope { base, scaling } = position else { return };
    let mut parameters = scaling.map_or_else(|| json!({ "rope_type": "default" }), scaling_json);
    json["rope_theta"] = json!(base); // read by transformers 4
    if scaling.is_some() {
        json["rope_scaling"] = parameters.clone();
    }
    parameters["rope_theta"] = json!(base);
    json["rope_parameters"] = parameters; // read by transformers 5
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
        RopeScaling::Llama3(llama3) => json!({
            "rope_type": "llama3",
            "factor": llama3.factor,
            "low_freq_factor": llama3.low_freq_factor,
            "high_freq_factor": llama3.high_freq_factor,
            "original_max_position_embeddings": llama3.original_context_len,
        }),
    }
}
