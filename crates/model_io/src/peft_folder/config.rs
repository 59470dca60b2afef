//! Settings of an adapter: `adapter_config.json`.

use anyhow::{Context, Result, anyhow, bail, ensure};
use regex::{Error, Regex, RegexBuilder, RegexSet, RegexSetBuilder};
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

/// `target_modules` of all linear layers but the output layer.
const ALL_LINEAR: &str = "all-linear";
/// Limit of the memory of the regular expressions of one setting. That of a layer's name takes some
/// kilobytes, and a repetition of a hundred characters can take a thousand times as much.
const MAX_PATTERN_BYTES: usize = 1 << 26;

/// Settings of an `adapter_config.json`.
pub(super) struct PeftConfig {
    pub(super) lora: LoraConfig,
    /// Regular expression of the whole names of the adapted layers, instead of their list.
    target_pattern: Option<String>,
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
            target_modules: parse_target_modules(&json["target_modules"])?,
        };
        let scale = lora.scale() as f32; // in which the layers compute
        ensure!(scale.is_finite(), "`lora_alpha` is {}, which is too large", lora.alpha);
        let as_alpha = |json: &Value| json.as_f64().filter(|&alpha| (alpha as f32).is_finite());
        let ranks = Patterns::parse(json, "rank_pattern", "a positive integer", as_rank)?;
        let alphas = Patterns::parse(json, "alpha_pattern", "a number below 1e38", as_alpha)?;
        let pattern = json["target_modules"].as_str().filter(|text| *text != ALL_LINEAR);
        Ok(Self { lora, target_pattern: pattern.map(String::from), ranks, alphas })
    }

    /// Selects the adapted `layers` by name if the file has a regular expression: the names of the
    /// tensors say what it matched, even one that only Python reads (with a look-ahead).
    ///
    /// # Errors
    /// When the expression does not match a layer: peft would leave its adapter out. Layers of a
    /// mixture of experts are not checked, since their names may differ from those in peft.
    pub(super) fn set_adapted_layers(&mut self, mut layers: Vec<String>) -> Result<()> {
        let Some(pattern) = &self.target_pattern else { return Ok(()) };
        layers.sort();
        if let Ok(regex) = Regex::new(&format!("^(?:{pattern})$")) {
            let is_of_mixture =
                |layer: &str| layer.contains(".experts.") || layer.ends_with(".gate");
            let other = layers.iter().find(|layer| !is_of_mixture(layer) && !regex.is_match(layer));
            if let Some(layer) = other {
                bail!(
                    "`target_modules` is {pattern:?}, a regular expression that does not match \
                     the whole name of the adapted layer {layer}"
                );
            }
        }
        self.lora.target_modules = TargetModules::Named(layers);
        Ok(())
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

/// The setting `target_modules`. What a regular expression matched is known with the tensors:
/// [`PeftConfig::set_adapted_layers`].
fn parse_target_modules(json: &Value) -> Result<TargetModules> {
    match json {
        Value::String(all) if all == ALL_LINEAR => Ok(TargetModules::All),
        Value::String(_) => Ok(TargetModules::Named(Vec::new())),
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(String::from));
            let names: Option<_> = names.collect();
            Ok(TargetModules::Named(names.context("`target_modules` must hold names only")?))
        }
        other => bail!(
            "`target_modules` is {other}; expected a list of names, a regular expression, or \
             \"{ALL_LINEAR}\""
        ),
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
