//! RoPE scaling in a `config.json`: the object `rope_scaling`, or the keys of the same names in
//! `rope_parameters`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::family::Family;
use crate::config::{Llama3Scaling, LongScaling, PairFactors, RopeScaling, YarnScaling};
use crate::json_fields::Fields;
use crate::rope_scaling::yarn_attention_factor;

/// Kind of a RoPE scaling; `None` if there is none. `type` is an older name of the key.
pub(super) fn scaling_type(parameters: Fields<'_>) -> Result<Option<&str>> {
    let kind = parameters.string("rope_type")?.or(parameters.string("type")?);
    ensure!(
        kind.is_some() || parameters.value("factor").is_none(),
        "RoPE has a scaling `factor`, but `rope_type` is missing"
    );
    Ok(kind.filter(|&kind| kind != "default"))
}

/// Reads the scaling in `parameters`, an object of `fields`, of a model of `context_len` tokens.
pub(super) fn read(
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

/// `scaling` as an object of a `config.json`.
pub(super) fn write(scaling: RopeScaling) -> Value {
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
