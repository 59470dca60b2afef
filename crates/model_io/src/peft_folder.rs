//! Adapter files in the layout of Hugging Face's `peft`: `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! LoRA, rsLoRA and DoRA are read, with ranks and alphas that differ between layers. Settings of
//! peft that are not supported here (other adapter types, trained biases, whole modules saved with
//! the adapter, an initialization that changes the base weights) are rejected by name, and so is
//! any unknown setting. A model thus never computes something else here than in peft.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Tensor;
use regex::Regex;
use serde_json::{Value, json};
use tensor_core::{LoraScaling, Parameters, json_file, weights};

use crate::lora_config::{LoraConfig, LoraVariant, RankScaling, TargetModules, module_names};
use crate::tensor_names::is_conv1d;
use crate::weight_files::{self, WEIGHT_LISTS};

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
/// Prefix of peft before the names of the model's layers.
const PREFIX: &str = "base_model.model.";
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

/// True if `folder` holds an adapter and no model.
pub fn is_adapter(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).is_file();
    has(CONFIG) && !WEIGHT_LISTS.into_iter().any(has)
}

/// Path or Hub id of the base model of the adapter in `folder`. A path that does not exist in the
/// current folder is searched in those above the adapter, since it is relative to the folder in
/// which the adapter was trained.
///
/// # Errors
/// When the adapter names no base model.
pub fn base_model(folder: &Path) -> Result<String> {
    let path = folder.join(CONFIG);
    let config = json_file::read(&path)?;
    let name = config["base_model_name_or_path"].as_str().filter(|name| !name.is_empty());
    let name = name.with_context(|| format!("{} names no base model", path.display()))?;
    let folder = std::path::absolute(folder)?;
    let mut candidates = folder.ancestors().map(|above| above.join(name));
    Ok(match candidates.find(|path| path.exists()) {
        Some(path) if !Path::new(name).exists() => path.to_string_lossy().into_owned(),
        _ => name.to_string(),
    })
}

/// Writes the adapters of `parameters` into `folder`; `base` names their base model.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, parameters: &Parameters, config: &LoraConfig, base: &str) -> Result<()> {
    let target_modules = match &config.target_modules {
        TargetModules::All => module_names(parameters)
            .into_iter()
            .filter(|name| config.target_modules.matches(name))
            .collect(),
        TargetModules::Named(names) => names.clone(),
    };
    let mut layers = parameters.adapters().keys();
    let fan_in_fan_out = layers.any(|layer| is_conv1d(&format!("{layer}.weight")));
    let settings = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout,
        "use_rslora": config.scaling == RankScaling::RankStabilized,
        "use_dora": config.variant == LoraVariant::Dora,
        "target_modules": target_modules, "bias": "none", "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": true, "init_lora_weights": true,
    });
    let layers = parameters.adapters().keys();
    let saved = layers.flat_map(|layer| {
        let pair = parameters.adapter_parameters(layer).into_iter().flatten();
        pair.chain(parameters.magnitude(layer))
    });
    let tensors = saved.map(|p| (format!("{PREFIX}{}", p.name), p.var.as_detached_tensor()));
    weight_files::write(folder, &[(CONFIG, settings)], WEIGHTS, &tensors.collect())
}

/// Freezes all parameters and adds the adapters of `folder` to the layers of `parameters`. A model
/// of `parameters` must be built again, which costs nothing.
///
/// # Errors
/// When a file is missing or damaged, a setting is not supported, or the adapters belong to another
/// base model; the message then names the layers that do not fit, with their shapes.
pub fn open(folder: &Path, parameters: &mut Parameters) -> Result<LoraConfig> {
    let path = folder.join(CONFIG);
    let config = PeftConfig::parse(&json_file::read(&path)?)
        .with_context(|| format!("cannot use {}", path.display()))?;
    let path = folder.join(WEIGHTS);
    let mut tensors = weights::load(&path)?;
    let adapters = matching_adapters(&mut tensors, parameters, &config)
        .with_context(|| format!("{} is not an adapter of this model", path.display()))?;
    parameters.freeze(|_| true);
    for LayerAdapter { layer, scale, lora_a, lora_b, magnitude } in adapters {
        let scaling = LoraScaling { scale, dropout: config.lora.dropout };
        parameters.add_adapter(&layer, &lora_a, &lora_b, scaling)?;
        if let Some(magnitude) = magnitude {
            parameters.add_magnitude(&layer, &magnitude)?;
        }
    }
    Ok(config.lora)
}

/// Settings of an `adapter_config.json`.
struct PeftConfig {
    lora: LoraConfig,
    /// Ranks of layers that have another than `lora`.
    ranks: Vec<(Regex, usize)>,
    /// α of layers that have another than `lora`.
    alphas: Vec<(Regex, f64)>,
}

impl PeftConfig {
    fn parse(json: &Value) -> Result<Self> {
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
            ensure!(
                off || plain_init || KNOWN_SETTINGS.contains(&key.as_str()),
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
        let ranks = parse_pattern(json, "rank_pattern", as_rank)?;
        Ok(Self { lora, ranks, alphas: parse_pattern(json, "alpha_pattern", Value::as_f64)? })
    }

    fn rank_of(&self, layer: &str) -> usize {
        let own = self.ranks.iter().find(|(pattern, _)| pattern.is_match(layer));
        own.map_or(self.lora.rank, |(_, rank)| *rank)
    }

    fn scale_of(&self, layer: &str) -> f64 {
        let own = self.alphas.iter().find(|(pattern, _)| pattern.is_match(layer));
        let alpha = own.map_or(self.lora.alpha, |(_, alpha)| *alpha);
        self.lora.scaling.scale(alpha, self.rank_of(layer))
    }
}

fn as_rank(json: &Value) -> Option<usize> {
    json.as_u64().filter(|&rank| rank > 0).map(|rank| rank as usize)
}

/// Values of the layers whose name, or the end of it after a dot, a regular expression matches: the
/// setting `key`.
fn parse_pattern<T>(
    json: &Value,
    key: &str,
    value_of: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(Regex, T)>> {
    let entries = match &json[key] {
        Value::Null => return Ok(Vec::new()),
        map => map.as_object().with_context(|| format!("`{key}` is not a JSON object"))?,
    };
    let parse = |(name, value): (&String, &Value)| {
        let pattern = Regex::new(&format!(r"^(.*\.)?({name})$"))
            .map_err(|_| anyhow!("`{key}`: {name:?} is not a regular expression"))?;
        let value = value_of(value)
            .with_context(|| format!("`{key}`: {value} of {name:?} is not a positive number"))?;
        Ok((pattern, value))
    };
    entries.iter().map(parse).collect()
}

/// Adapter of one layer, as a file has it.
struct LayerAdapter {
    layer: String,
    scale: f64,
    lora_a: Tensor,
    lora_b: Tensor,
    magnitude: Option<Tensor>,
}

/// Adapters of the layers; all of them must fit the model.
fn matching_adapters(
    tensors: &mut BTreeMap<String, Tensor>,
    parameters: &Parameters,
    config: &PeftConfig,
) -> Result<Vec<LayerAdapter>> {
    let (mut adapters, mut errors) = (Vec::new(), Vec::new());
    let is_dora = config.lora.variant == LoraVariant::Dora;
    for (layer, (n_out, n_in)) in parameters.linear_layers() {
        let mut take = |end: &str| tensors.remove(&format!("{PREFIX}{layer}.{end}"));
        let (lora_a, lora_b) = match (take("lora_A.weight"), take("lora_B.weight")) {
            (None, None) => continue,
            (Some(lora_a), Some(lora_b)) => (lora_a, lora_b),
            _ => {
                errors.push(format!(
                    "adapter of layer {layer} is incomplete: expected lora_A and lora_B"
                ));
                continue;
            }
        };
        let magnitude = is_dora.then(|| take("lora_magnitude_vector")).flatten();
        if is_dora && magnitude.is_none() {
            errors.push(format!("adapter of layer {layer} lacks lora_magnitude_vector"));
        }
        let rank = config.rank_of(layer);
        let expected_shapes = [
            ("lora_A", Some(&lora_a), vec![rank, *n_in]),
            ("lora_B", Some(&lora_b), vec![*n_out, rank]),
            ("lora_magnitude_vector", magnitude.as_ref(), vec![*n_out]),
        ];
        for (name, tensor, expected) in expected_shapes {
            if let Some(tensor) = tensor.filter(|tensor| tensor.dims() != expected) {
                let shape = tensor.dims();
                errors.push(format!("{layer}.{name} has shape {shape:?}, expected {expected:?}"));
            }
        }
        let (layer, scale) = (layer.clone(), config.scale_of(layer));
        adapters.push(LayerAdapter { layer, scale, lora_a, lora_b, magnitude });
    }
    errors.extend(tensors.keys().map(|name| format!("the model has no layer for {name}")));
    let n_more = errors.len().saturating_sub(4);
    errors.truncate(4);
    if n_more > 0 {
        errors.push(format!("and {n_more} more"));
    }
    ensure!(errors.is_empty(), "{}", errors.join("; "));
    ensure!(!adapters.is_empty(), "it holds no adapter");
    Ok(adapters)
}
