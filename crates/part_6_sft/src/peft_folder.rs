//! Adapters as files, as Hugging Face's `peft` has them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What peft can express and we cannot (another kind of adapter, biases that are trained, ranks that differ, a beginning that
//! changes the base) is refused by name, as is any setting that is not known here, so that no model computes something else
//! here than there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde_json::{Value, json};
use tensor_core::{LoraScaling, Parameters, weights};
use tiny_gpt::json_file;

use crate::lora::{LoraConfig, TargetModules, module_names};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What peft puts before the name of each of the model's layers.
const PREFIX: &str = "base_model.model.";
/// What is read here, and what changes nothing in what a saved adapter computes. Whatever else is set, is refused.
const KNOWN: [&str; 14] = [
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

/// Writes the adapters of `parameters` into `folder`; `base` names the model that they belong to.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, parameters: &Parameters, config: &LoraConfig, base: &str) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let layers = match &config.target_modules {
        TargetModules::All => {
            module_names(parameters).into_iter().filter(|kind| kind != "lm_head").collect()
        }
        TargetModules::Named(names) => names.clone(),
    };
    let settings = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout,
        "target_modules": layers, "bias": "none", "fan_in_fan_out": false,
        "inference_mode": true, "init_lora_weights": true,
    });
    json_file::write(&folder.join(CONFIG), &settings)?;
    let mut tensors = BTreeMap::new();
    for layer in parameters.adapters().keys() {
        for parameter in parameters.adapter_parameters(layer).into_iter().flatten() {
            tensors
                .insert(format!("{PREFIX}{}", parameter.name), parameter.var.as_detached_tensor());
        }
    }
    weights::save(&folder.join(WEIGHTS), &tensors)
}

/// Freezes all that there is and puts the adapters of `folder` beside the layers of `parameters`. A model of `parameters` is
/// to be built again, which costs nothing.
///
/// # Errors
/// When a file is missing or damaged, the adapters are of a kind that we do not have, or they belong to another base model:
/// the layers that do not fit are named, with their shapes.
pub fn open(folder: &Path, parameters: &mut Parameters) -> Result<LoraConfig> {
    let path = folder.join(CONFIG);
    let config = from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} cannot be used", path.display()))?;
    let path = folder.join(WEIGHTS);
    let mut tensors = weights::load(&path)?;
    let fitting = fitting(&mut tensors, parameters, &config)
        .with_context(|| format!("{} is no adapter for this model", path.display()))?;
    parameters.freeze(|_| true);
    let adapting = LoraScaling { scale: config.scale(), dropout: config.dropout };
    for (layer, [down, up]) in fitting {
        parameters.add_adapter(&layer, [&down, &up], adapting)?;
    }
    Ok(config)
}

/// What `adapter_config.json` says.
fn from_json(json: &Value) -> Result<LoraConfig> {
    let kind = &json["peft_type"];
    ensure!(kind == "LORA", "`peft_type` is {kind}; here are adapters of type \"LORA\" alone");
    let settings = json.as_object().context("it is no JSON object")?;
    for (key, value) in settings {
        let off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(word) => key == "bias" && word == "none",
            _ => false,
        };
        // PiSSA and its like begin by changing the base, which such an adapter is then not for.
        let plain = key == "init_lora_weights" && (*value == true || value == "gaussian");
        ensure!(
            off || plain || KNOWN.contains(&key.as_str()),
            "`{key}` is {value}, which is not supported here"
        );
    }
    let number = |key: &str| json[key].as_f64().with_context(|| format!("`{key}` is no number"));
    let rank = json["r"].as_u64().filter(|&rank| rank > 0).context("`r` is no rank")? as usize;
    let layers = match &json["target_modules"] {
        Value::String(all) if all == "all-linear" => TargetModules::All,
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(String::from));
            TargetModules::Named(
                names.collect::<Option<_>>().context("`target_modules` holds no names")?,
            )
        }
        other => {
            bail!("`target_modules` is {other}; here it is a list of names, or \"all-linear\"")
        }
    };
    Ok(LoraConfig {
        rank,
        alpha: number("lora_alpha")?,
        dropout: number("lora_dropout")?,
        target_modules: layers,
    })
}

/// The matrices A and B of each layer, all of which must fit the model.
fn fitting(
    tensors: &mut BTreeMap<String, Tensor>,
    parameters: &Parameters,
    config: &LoraConfig,
) -> Result<Vec<(String, [Tensor; 2])>> {
    let (mut fitting, mut wrong) = (Vec::new(), Vec::new());
    for (layer, (n_out, n_in)) in parameters.linear_layers() {
        let mut take = |end: &str| tensors.remove(&format!("{PREFIX}{layer}.{end}.weight"));
        let pair = match (take("lora_A"), take("lora_B")) {
            (None, None) => continue,
            (Some(down), Some(up)) => [down, up],
            _ => {
                wrong.push(format!("{layer} has one matrix of two"));
                continue;
            }
        };
        let expected = [[config.rank, *n_in], [*n_out, config.rank]];
        for ((name, tensor), expected) in ["lora_A", "lora_B"].iter().zip(&pair).zip(expected) {
            if tensor.dims() != expected {
                wrong.push(format!(
                    "{layer}.{name} is {:?} and would have to be {expected:?}",
                    tensor.dims()
                ));
            }
        }
        fitting.push((layer.clone(), pair));
    }
    wrong.extend(tensors.keys().map(|name| format!("the model has no place for {name}")));
    let more = wrong.len().saturating_sub(4);
    wrong.truncate(4);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    ensure!(!fitting.is_empty(), "it holds no adapter");
    Ok(fitting)
}
