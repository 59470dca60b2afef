//! Model folders: `MixtralForCausalLM` where transformers has the architecture. Its files store the
//! matrices of each expert separately, under the same names as here, although transformers stacks
//! them in memory.
//!
//! Mixtral renormalizes the gate weights, selects by probability and lacks a dense branch. Other
//! models get `model_type: llm_from_scratch`, which transformers rejects by name instead of
//! misreading it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use model_io::config::AttentionBias;
use model_io::model_folder::{read_parameters, save_with_config_json};
use model_io::{SpecialTokenIds, config_json, ensure_model_saved};
use serde_json::{Value, json};
use tensor_core::{Parameters, json_file};

use crate::config::{DenseBranch, ExpertSelection, GateWeights, MoeConfig, RouterConfig};
use crate::model::{GptMoe, is_selection_bias};

const MIXTRAL: &str = "mixtral";
const OWN_TYPE: &str = "llm_from_scratch";

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `folder`, the
/// weights last.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    config: &MoeConfig,
    parameters: &Parameters,
    special_ids: &SpecialTokenIds,
) -> Result<()> {
    save_with_config_json(folder, &config.model, to_json(config), parameters, special_ids, None)
}

/// Opens a folder and converts the weights to `dtype`.
///
/// # Errors
/// When a file is missing or damaged, the architecture is another one, or a tensor is missing,
/// unknown or of the wrong shape.
pub fn open(folder: &Path, dtype: DType, device: &Device) -> Result<(GptMoe, Parameters)> {
    ensure_model_saved(folder)?;
    let path = folder.join("config.json");
    let config = from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} does not describe a model of this part", path.display()))?;
    let mut parameters = read_parameters(folder, &config.model, dtype, device)?;
    let model = GptMoe::new(&config, parameters.root())?;
    parameters.ensure_all_used()?;
    parameters.freeze(is_selection_bias);
    Ok((model, parameters))
}

/// JSON of the model's `config.json`, without special tokens and dtype.
pub fn to_json(config: &MoeConfig) -> Value {
    let MoeConfig { model, router, dense_branch } = *config;
    let mut json = config_json::to_json(&model);
    let is_mixtral = is_mixtral(config, &json);
    let (model_type, class) =
        if is_mixtral { (MIXTRAL, "MixtralForCausalLM") } else { (OWN_TYPE, "GptMoe") };
    (json["model_type"], json["architectures"]) = (json!(model_type), json!([class]));
    json["num_local_experts"] = json!(router.n_expert);
    json["num_experts_per_tok"] = json!(router.top_k);
    json["output_router_logits"] = json!(false);
    if is_mixtral {
        return json;
    }
    json["router_weights"] = json!(match router.gate_weights {
        GateWeights::Raw => "raw",
        GateWeights::Scaled => "scaled",
        GateWeights::Renormalized => "renormalized",
    });
    json["router_selection"] = json!(match router.expert_selection {
        ExpertSelection::Probability => "probability",
        ExpertSelection::Biased => "biased",
    });
    json["dense_share"] = match dense_branch {
        DenseBranch::None => Value::Null,
        DenseBranch::Weighted { dense_weight } => json!(dense_weight),
    };
    config_json::add_custom_keys(&mut json, &model);
    json
}

/// Returns whether the model is a Mixtral of transformers; `dense_json` describes it without
/// experts.
fn is_mixtral(config: &MoeConfig, dense_json: &Value) -> bool {
    let MoeConfig { model, router, dense_branch } = *config;
    let dense_type = dense_json["model_type"].as_str().unwrap_or_default();
    ["llama", "mistral"].contains(&dense_type)
        && model.attention.bias == AttentionBias::None
        && router.gate_weights == GateWeights::Renormalized
        && router.expert_selection == ExpertSelection::Probability
        && dense_branch == DenseBranch::None
}

/// Configuration in the JSON of a `config.json`. Keys that a Mixtral's file omits have
/// transformers' defaults.
///
/// # Errors
/// When it does not describe an MoE model; the error names the key.
pub fn from_json(json: &Value) -> Result<MoeConfig> {
    let mut json = json.clone();
    let fields = json.as_object_mut().context("not a JSON object")?;
    match fields.get("model_type").and_then(Value::as_str) {
        Some(MIXTRAL) => {
            let defaults = json!({
                "num_local_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 8,
                "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
                "sliding_window": null,
            });
            for (key, value) in defaults.as_object().into_iter().flatten() {
                fields.entry(key).or_insert(value.clone());
            }
            // A Mixtral is a Mistral with experts.
            fields.insert("model_type".into(), json!("mistral"));
            fields.insert("router_weights".into(), json!("renormalized"));
        }
        Some(OWN_TYPE) if fields.contains_key("num_local_experts") => {}
        other => bail!("model_type `{}` is not an MoE model", other.unwrap_or("none")),
    }
    let size = |key: &str| {
        let size = json[key].as_u64().and_then(|size| usize::try_from(size).ok());
        size.with_context(|| format!("`{key}` is {}, expected a size", json[key]))
    };
    let router = RouterConfig {
        n_expert: size("num_local_experts")?,
        top_k: size("num_experts_per_tok")?,
        gate_weights: match json["router_weights"].as_str() {
            Some("raw") => GateWeights::Raw,
            Some("scaled") => GateWeights::Scaled,
            Some("renormalized") => GateWeights::Renormalized,
            _ => bail!(
                "`router_weights` is {}, expected raw, scaled or renormalized",
                json["router_weights"]
            ),
        },
        expert_selection: match json["router_selection"].as_str() {
            None | Some("probability") => ExpertSelection::Probability,
            Some("biased") => ExpertSelection::Biased,
            Some(other) => bail!("`router_selection` is `{other}`, expected probability or biased"),
        },
    };
    let dense_branch = match &json["dense_share"] {
        Value::Null => DenseBranch::None,
        value => {
            let dense_weight = value
                .as_f64()
                .with_context(|| format!("`dense_share` is {value}, expected a number"))?;
            DenseBranch::Weighted { dense_weight }
        }
    };
    let config = MoeConfig { model: config_json::from_json(&json)?, router, dense_branch };
    config.check()?;
    Ok(config)
}
