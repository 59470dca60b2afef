//! Settings of an adapter: `adapter_config.json`.

use anyhow::{Context, Result, anyhow, bail, ensure};
use regex::{Error, RegexBuilder, RegexSet, RegexSetBuilder};
use serde_json::{Map, Value};

use crate::lora_config::{LoraConfig, LoraVariant, RankScaling, TargetModules};

/// Settings that are read here, or that do not change what a saved adapter computes. Any other
/// setting is rejected.
const KNOWN_SETTINGS: [&str; 19] = [
    "peft_type",
    "r",
    "rank_pattern",
    "lora_alpha",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "peft_version",
    "auto_mapping",
    "megatron_core",
    "qalora_group_size",
    "fan_in_fan_out", // the base model's matrices are transposed: GPT-2
];

/// Ends of the names of the fused experts and of the router, the parameters that may be adapted.
const TARGET_PARAMETERS: [&str; 3] = ["gate_up_proj", "down_proj", "gate.weight"];

/// Limit of the memory of the regular expressions of one setting. That of a layer's name takes some
/// kilobytes, and a repetition of a hundred characters can take a thousand times as much.
const MAX_PATTERN_BYTES: usize = 1 << 26;

/// Settings of an `adapter_config.json`.
pub(super) struct PeftConfig {
    pub(super) lora: LoraConfig,
    /// Ranks of layers that have another than `lora`.
    ranks: Patterns<usize>,
    /// α of layers that have another than `lora`.
    alphas: Patterns<f64>,
}

/// Values of the layers whose name, or the end of it after a dot, a regular expression matches.
struct Patterns<T> {
    names: RegexSet,
    values: Vec<T>,
}

impl PeftConfig {
    pub(super) fn parse(json: &Value) -> Result<Self> {
        let peft_type = &json["peft_type"];
        ensure!(peft_type == "LORA", "`peft_type` is {peft_type}; only \"LORA\" is supported");
        let settings = json.as_object().context("it is not a JSON object")?;
        for (key, value) in settings {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                Value::String(word) => key == "bias" && word == "none",
                _ => false,
            };
            // PiSSA and similar initializations change the base weights, so an adapter trained with
            // them does not fit the original base.
            let plain_init = key == "init_lora_weights" && (*value == true || value == "gaussian");
            // Parameters of transformers 5 that are linear layers here.
            let fused = key == "target_parameters" && names_only(value, &TARGET_PARAMETERS);
            ensure!(
                off || plain_init || fused || KNOWN_SETTINGS.contains(&key.as_str()),
                "`{key}` is {value}, which is not supported: merge the adapter into its base model \
                 with peft's merge_and_unload(), and open the result"
            );
        }
        let target_modules = match &json["target_modules"] {
            Value::String(all) if all == "all-linear" => TargetModules::All,
            Value::Array(names) => {
                let names = names.iter().map(|name| name.as_str().map(String::from));
                TargetModules::Named(
                    names
                        .collect::<Option<_>>()
                        .context("`target_modules` must hold names only")?,
                )
            }
            other => {
                bail!("`target_modules` is {other}; expected a list of names or \"all-linear\"")
            }
        };
        let is_on = |key: &str| match &json[key] {
            Value::Null => Ok(false),
            Value::Bool(on) => Ok(*on),
            other => bail!("`{key}` is {other}; expected true or false"),
        };
        let number =
            |key: &str| json[key].as_f64().with_context(|| format!("`{key}` is not a number"));
        let dropout = number("lora_dropout")?;
        ensure!(
            (0. ..1.).contains(&dropout),
            "`lora_dropout` is {dropout}: it must be at least 0 and below 1"
        );
        let lora = LoraConfig {
            rank: as_rank(&json["r"]).context("`r` must be a positive integer")?,
            alpha: number("lora_alpha")?,
            scaling: match is_on("use_rslora")? {
                true => RankScaling::RankStabilized,
                false => RankScaling::Standard,
            },
            variant: if is_on("use_dora")? { LoraVariant::Dora } else { LoraVariant::Plain },
            dropout,
            target_modules,
        };
        let scale = lora.scale() as f32; // in which the layers compute
        ensure!(scale.is_finite(), "`lora_alpha` is {}, which is too large", lora.alpha);
        let as_alpha = |json: &Value| json.as_f64().filter(|&alpha| (alpha as f32).is_finite());
        let ranks = Patterns::parse(json, "rank_pattern", "a positive integer", as_rank)?;
        let alphas = Patterns::parse(json, "alpha_pattern", "a number below 1e38", as_alpha)?;
        Ok(Self { lora, ranks, alphas })
    }

    /// Rank of the adapter of `layer`.
    pub(super) fn rank_of(&self, layer: &str) -> usize {
        self.ranks.of(layer).unwrap_or(self.lora.rank)
    }

    /// Scale of the adapter of `layer`.
    pub(super) fn scale_of(&self, layer: &str) -> f64 {
        let alpha = self.alphas.of(layer).unwrap_or(self.lora.alpha);
        self.lora.scaling.scale(alpha, self.rank_of(layer))
    }
}

/// True if `list` is one of names with these `ends`.
fn names_only(list: &Value, ends: &[&str]) -> bool {
    let has_end = |name: &str| ends.iter().any(|end| name.ends_with(end));
    list.as_array().is_some_and(|names| names.iter().all(|name| name.as_str().is_some_and(has_end)))
}

fn as_rank(json: &Value) -> Option<usize> {
    json.as_u64().filter(|&rank| rank > 0).map(|rank| rank as usize)
}

impl<T: Copy> Patterns<T> {
    /// The setting `key`, whose values are `expected`.
    fn parse(
        json: &Value,
        key: &str,
        expected: &str,
        value_of: impl Fn(&Value) -> Option<T>,
    ) -> Result<Self> {
        let none = Map::new();
        let entries = match &json[key] {
            Value::Null => &none,
            map => map.as_object().with_context(|| format!("`{key}` is not a JSON object"))?,
        };
        let value = |(name, value): (&String, &Value)| {
            value_of(value)
                .with_context(|| format!("`{key}`: {value} of {name:?} is not {expected}"))
        };
        let values = entries.iter().map(value).collect::<Result<_>>()?;
        let pattern = |name: &String| format!(r"^(.*\.)?({name})$");
        let names = RegexSetBuilder::new(entries.keys().map(pattern))
            .size_limit(MAX_PATTERN_BYTES)
            .build()
            .map_err(|_| match entries.keys().find(|name| !is_regex(&pattern(name))) {
                Some(name) => anyhow!("`{key}`: {name:?} is not a regular expression"),
                None => anyhow!("`{key}` has regular expressions that are too large"),
            })?;
        Ok(Self { names, values })
    }

    /// Value of the first regular expression that matches `layer`.
    fn of(&self, layer: &str) -> Option<T> {
        let first = self.names.matches(layer).iter().next()?;
        self.values.get(first).copied()
    }
}

/// True if `pattern` is a regular expression, of any size.
fn is_regex(pattern: &str) -> bool {
    let error = RegexBuilder::new(pattern).size_limit(0).build().err();
    error.is_none_or(|error| matches!(error, Error::CompiledTooBig(_)))
}
