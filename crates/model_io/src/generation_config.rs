//! `generation_config.json`: the sampling settings that the model's authors recommend.
//!
//! With `do_sample` alone, transformers' defaults apply: temperature 1 and top-k 50.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tensor_core::json_file;

use crate::json_fields::Fields;

/// Sampling settings of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerationConfig {
    /// Temperature; 0 is greedy decoding (`do_sample` false).
    pub temperature: f64,
    /// Keep the k most likely tokens.
    pub top_k: Option<usize>,
    /// Keep the smallest set of tokens with total probability p.
    pub top_p: Option<f64>,
    /// Keep tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f64>,
    /// Repetition penalty; 1 disables it.
    pub repetition_penalty: f64,
}

impl GenerationConfig {
    /// Settings of the model in `folder`; `None` if its files do not set any.
    ///
    /// # Errors
    /// When the file is damaged, or a value has the wrong type or is out of range.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("generation_config.json");
        let json = json_file::read_or_null(&path)?;
        let Some(object) = json.as_object() else { return Ok(None) };
        Self::from_json(Fields(object))
            .with_context(|| format!("{} cannot be used", path.display()))
    }

    fn from_json(fields: Fields<'_>) -> Result<Option<Self>> {
        let number = |key: &str, default: f64, range: RangeInclusive<f64>| {
            let number = fields.number_or(key, default)?;
            ensure!(range.contains(&number), "`{key}` is {number}, which is out of range");
            Ok(number)
        };
        let positive = f64::MIN_POSITIVE;
        let repetition_penalty = number("repetition_penalty", 1., positive..=f64::MAX)?;
        let config = Self {
            temperature: match fields.flag("do_sample")? {
                true => number("temperature", 1., 0. ..=f64::MAX)?,
                false => 0.,
            },
            top_k: Some(fields.size_or("top_k", 50)?).filter(|&k| k > 0),
            top_p: Some(number("top_p", 1., positive..=1.)?).filter(|&p| p < 1.),
            min_p: Some(number("min_p", 0., 0. ..=1.)?).filter(|&p| p > 0.),
            repetition_penalty,
        };
        let sets_sampling =
            ["do_sample", "repetition_penalty"].iter().any(|key| fields.value(key).is_some());
        Ok(sets_sampling.then_some(config))
    }

    /// Writes the settings into the content of a `generation_config.json`.
    pub(crate) fn write(&self, json: &mut Value) {
        json["repetition_penalty"] = json!(self.repetition_penalty);
        json["do_sample"] = json!(self.temperature > 0.);
        if self.temperature > 0. {
            json["temperature"] = json!(self.temperature);
            json["top_k"] = json!(self.top_k.unwrap_or(0));
            json["top_p"] = json!(self.top_p.unwrap_or(1.));
            json["min_p"] = json!(self.min_p);
        }
    }
}
