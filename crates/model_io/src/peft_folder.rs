//! Adapter files in the layout of Hugging Face's `peft`: `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! LoRA, rsLoRA and DoRA are read, with ranks and alphas that differ between layers. Settings of
//! peft that are not supported here (other adapter types, trained biases, whole modules saved with
//! the adapter, an initialization that changes the base weights) are rejected by name, and so is
//! any unknown setting. A model thus never computes something else here than in peft.

mod config;
mod layer_adapter;
mod fused_experts;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use config::PeftConfig;
use layer_adapter::{LayerAdapter, PREFIX, incomplete};
use serde_json::{Value, json};
use tensor_core::{LoraScaling, Parameters, json_file, weights};

use crate::hub::{DEFAULT_REVISION, at_revision, split_revision};
use crate::lora_config::{LoraConfig, LoraVariant, RankScaling, TargetModules, module_names};
use crate::tensor_names::is_conv1d;
use crate::weight_files::{self, WEIGHT_LISTS};

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";

/// True if `folder` holds an adapter and no model.
pub fn is_adapter(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).is_file();
    has(CONFIG) && !WEIGHT_LISTS.into_iter().any(has)
}

/// Path or Hub id of the base model of the adapter in `folder`, with the `revision` of its settings
/// as in peft's `AutoPeftModel`. A path that does not exist in the current folder is searched in
/// those above the adapter, since it is relative to the folder in which the adapter was trained.
///
/// # Errors
/// When the adapter names no base model, or a revision of a model that is not on the Hub.
pub fn base_model(folder: &Path) -> Result<String> {
    let path = folder.join(CONFIG);
    let config = json_file::read(&path)?;
    let name = config["base_model_name_or_path"].as_str().filter(|name| !name.is_empty());
    let name = name.with_context(|| format!("{} names no base model", path.display()))?;
    let folder = std::path::absolute(folder)?;
    let mut candidates = folder.ancestors().map(|above| above.join(name));
    let found = candidates.find(|path| path.exists()).filter(|_| !Path::new(name).exists());
    let revision = match &config["revision"] {
        Value::Null => None,
        Value::String(revision) => Some(revision).filter(|revision| *revision != DEFAULT_REVISION),
        other => bail!("{}: `revision` is {other}; expected a name", path.display()),
    };
    let Some(revision) = revision else {
        return Ok(found.map_or(name.to_string(), |path| path.to_string_lossy().into_owned()));
    };
    let context = || format!("{}: `revision` {revision:?} of the base model", path.display());
    ensure!(
        found.is_none() && !Path::new(name).exists(),
        "{}, which is the local {name}: only models on the Hub have one; remove it",
        context()
    );
    at_revision(name, revision).with_context(context)
}

/// Writes the adapters of `parameters` into `folder`; `base` names their base model, a path or a
/// Hub id, whose revision is a setting of its own in peft.
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
    let (base, revision) = split_revision(base);
    let mut layers = parameters.adapters().keys();
    let fan_in_fan_out = layers.any(|layer| is_conv1d(&format!("{layer}.weight")));
    let settings = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "revision": revision,
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
    let cannot_use = || format!("cannot use {}", path.display());
    let mut config = PeftConfig::parse(&json_file::read(&path)?).with_context(cannot_use)?;
    let weights_path = folder.join(WEIGHTS);
    let mut tensors = weights::load(&weights_path)?;
    let adapters = matching_adapters(&mut tensors, parameters, &config)
        .with_context(|| format!("{} is not an adapter of this model", weights_path.display()))?;
    let layers = adapters.iter().map(|adapter| adapter.layer.clone()).collect();
    config.set_adapted_layers(layers).with_context(cannot_use)?;
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

/// Adapters of the layers; all of them must fit the model.
fn matching_adapters(
    tensors: &mut BTreeMap<String, Tensor>,
    parameters: &Parameters,
    config: &PeftConfig,
) -> Result<Vec<LayerAdapter>> {
    let mut errors = Vec::new();
    let mut adapters = fused_experts::split(tensors, parameters, config, &mut errors);
    let is_dora = config.lora.variant == LoraVariant::Dora;
    for (layer, (n_out, n_in)) in parameters.linear_layers() {
        let mut take = |end: &str| tensors.remove(&format!("{PREFIX}{layer}.{end}"));
        let (lora_a, lora_b) = match (take("lora_A.weight"), take("lora_B.weight")) {
            (None, None) => continue,
            (Some(lora_a), Some(lora_b)) => (lora_a, lora_b),
            _ => {
                errors.push(incomplete(layer));
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
