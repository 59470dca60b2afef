//! Adapter files in the layout of Hugging Face's `peft`: `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! Settings of peft that are not supported here (other adapter types, trained biases, ranks that
//! differ between layers, an initialization that changes the base weights) are rejected by name,
//! and so is any unknown setting. A model thus never computes something else here than in peft.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde_json::{Value, json};
use tensor_core::{LoraScaling, Parameters, json_file, weights};

use crate::lora_config::{LoraConfig, TargetModules, module_names};
use crate::weight_files;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Prefix of peft before the names of the model's layers.
const PREFIX: &str = "base_model.model.";
/// Settings that are read here, or that do not change what a saved adapter computes. Any other
/// setting is rejected.
const KNOWN_SETTINGS: [&str; 14] = [
    "peft_type",
    "r",
    "lora_alpha",
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
];

/// True if `folder` holds an adapter and no model.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file() && !folder.join("config.json").is_file()
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
        TargetModules::All => {
            module_names(parameters).into_iter().filter(|name| name != "lm_head").collect()
        }
        TargetModules::Named(names) => names.clone(),
    };
    let settings = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout,
        "target_modules": target_modules, "bias": "none", "fan_in_fan_out": false,
        "inference_mode": true, "init_lora_weights": true,
    });
    let layers = parameters.adapters().keys();
    let saved = layers.flat_map(|layer| parameters.adapter_parameters(layer)).flatten();
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
    let config = parse_config(&json_file::read(&path)?)
        .with_context(|| format!("cannot use {}", path.display()))?;
    let path = folder.join(WEIGHTS);
    let mut tensors = weights::load(&path)?;
    let adapters = matching_adapters(&mut tensors, parameters, &config)
        .with_context(|| format!("{} is not an adapter of this model", path.display()))?;
    parameters.freeze(|_| true);
    let scaling = LoraScaling { scale: config.scale(), dropout: config.dropout };
    for (layer, [down, up]) in adapters {
        parameters.add_adapter(&layer, [&down, &up], scaling)?;
    }
    Ok(config)
}

/// LoRA configuration of an `adapter_config.json`.
fn parse_config(json: &Value) -> Result<LoraConfig> {
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
            "`{key}` is {value}, which is not supported"
        );
    }
    let number = |key: &str| json[key].as_f64().with_context(|| format!("`{key}` is not a number"));
    let rank =
        json["r"].as_u64().filter(|&rank| rank > 0).context("`r` must be a positive integer")?
            as usize;
    let target_modules = match &json["target_modules"] {
        Value::String(all) if all == "all-linear" => TargetModules::All,
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(String::from));
            TargetModules::Named(
                names.collect::<Option<_>>().context("`target_modules` must hold names only")?,
            )
        }
        other => {
            bail!("`target_modules` is {other}; expected a list of names or \"all-linear\"")
        }
    };
    Ok(LoraConfig {
        rank,
        alpha: number("lora_alpha")?,
        dropout: number("lora_dropout")?,
        target_modules,
    })
}

/// Matrices A and B of each layer; all of them must fit the model.
fn matching_adapters(
    tensors: &mut BTreeMap<String, Tensor>,
    parameters: &Parameters,
    config: &LoraConfig,
) -> Result<Vec<(String, [Tensor; 2])>> {
    let (mut adapters, mut errors) = (Vec::new(), Vec::new());
    for (layer, (n_out, n_in)) in parameters.linear_layers() {
        let mut take = |end: &str| tensors.remove(&format!("{PREFIX}{layer}.{end}.weight"));
        let pair = match (take("lora_A"), take("lora_B")) {
            (None, None) => continue,
            (Some(down), Some(up)) => [down, up],
            _ => {
                errors.push(format!(
                    "adapter of layer {layer} is incomplete: expected lora_A and lora_B"
                ));
                continue;
            }
        };
        let expected = [[config.rank, *n_in], [*n_out, config.rank]];
        for ((name, tensor), expected) in ["lora_A", "lora_B"].iter().zip(&pair).zip(expected) {
            if tensor.dims() != expected {
                errors.push(format!(
                    "{layer}.{name} has shape {:?}, expected {expected:?}",
                    tensor.dims()
                ));
            }
        }
        adapters.push((layer.clone(), pair));
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
