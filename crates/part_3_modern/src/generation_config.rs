//! The sampler in `generation_config.json`: the settings recommended by the model's authors.
//!
//! With `do_sample` alone, transformers' defaults apply: temperature 1 and top-k 50.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tiny_gpt::json_file;

use crate::config_json::Fields;
use crate::sampler::{Sampler, SamplingStrategy};

/// Sampler of the model in `folder`; `None` if its files do not set one.
///
/// # Errors
/// When the file is damaged, or a value has the wrong type or is out of range.
pub fn read_sampler(folder: &Path) -> Result<Option<Sampler>> {
    let path = folder.join("generation_config.json");
    let json = json_file::read_or_null(&path)?;
    let Some(object) = json.as_object() else { return Ok(None) };
    from_json(Fields(object)).with_context(|| format!("{} cannot be used", path.display()))
}

fn from_json(fields: Fields<'_>) -> Result<Option<Sampler>> {
    let number = |key: &str, default: f64, range: RangeInclusive<f64>| {
        let number = fields.number_or(key, default)?;
        ensure!(range.contains(&number), "`{key}` is {number}, which is out of range");
        Ok(number)
    };
    let positive = f64::MIN_POSITIVE;
    let repetition_penalty = number("repetition_penalty", 1., positive..=f64::MAX)?;
    let temperature = match fields.flag("do_sample")? {
        true => number("temperature", 1., 0. ..=f64::MAX)?,
        false => 0.,
    };
    let strategy = SamplingStrategy::new(
        temperature,
        Some(fields.size_or("top_k", 50)?).filter(|&k| k > 0),
        Some(number("top_p", 1., positive..=1.)?).filter(|&p| p < 1.),
        Some(number("min_p", 0., 0. ..=1.)?).filter(|&p| p > 0.),
    );
    let sets_sampler =
        ["do_sample", "repetition_penalty"].iter().any(|key| fields.value(key).is_some());
    Ok(sets_sampler.then_some(Sampler { strategy, repetition_penalty }))
}

/// Writes `sampler` into the content of a `generation_config.json`.
pub(crate) fn write_sampler(json: &mut Value, sampler: &Sampler) {
    json["repetition_penalty"] = json!(sampler.repetition_penalty);
    json["do_sample"] = json!(sampler.strategy != SamplingStrategy::Greedy);
    if let SamplingStrategy::Random { temperature, top_k, top_p, min_p } = sampler.strategy {
        json["temperature"] = json!(temperature);
        json["top_k"] = json!(top_k.unwrap_or(0));
        json["top_p"] = json!(top_p.unwrap_or(1.));
        json["min_p"] = json!(min_p);
    }
}
