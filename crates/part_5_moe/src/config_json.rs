//! `config.json`: a model with experts as transformers describes its Mixtral, where it can.
//!
//! Mixtral divides the weights of the chosen experts by their sum, chooses by probability and has nothing beside the experts.
//! What differs gets `model_type: llm_from_scratch`, which transformers refuses by name instead of misreading it.

use anyhow::{Context, Result, bail};
use modern::config::{AttentionBias, NormKind, QkNorm};
use modern::config_json;
use serde_json::{Value, json};

use crate::config::{DenseBranch, ExpertSelection, GateWeights, MoeConfig, RouterConfig};

const MIXTRAL: &str = "mixtral";
const OURS: &str = "llm_from_scratch";

/// The model's `config.json`, without its special tokens and the type of its numbers.
pub fn to_json(config: &MoeConfig) -> Value {
    let MoeConfig { model, router, dense_branch: blend } = *config;
    let mut json = config_json::to_json(&model);
    let is_mixtral = is_mixtral(config, &json);
    let (family, class) =
        if is_mixtral { (MIXTRAL, "MixtralForCausalLM") } else { (OURS, "GptMoe") };
    (json["model_type"], json["architectures"]) = (json!(family), json!([class]));
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
    json["dense_share"] = match blend {
        DenseBranch::None => Value::Null,
        DenseBranch::Weighted { dense_weight: dense_share } => json!(dense_share),
    };
    // What a family's name says in part 3.
    json["norm"] = json!(if matches!(model.norm, NormKind::Rms { .. }) { "rms" } else { "layer" });
    json["attention_sinks"] = json!(model.attention.window.map_or(0, |window| window.sinks));
    json["qkv_bias"] = json!(model.attention.bias != AttentionBias::None);
    json["qk_norm"] = json!(model.attention.qk_norm == QkNorm::PerHead);
    json
}

/// Whether transformers has such a model; `dense` is what it says about all but the experts.
fn is_mixtral(config: &MoeConfig, dense: &Value) -> bool {
    let MoeConfig { model, router, dense_branch: blend } = *config;
    let known = ["llama", "mistral"].contains(&dense["model_type"].as_str().unwrap_or_default());
    known
        && model.attention.bias == AttentionBias::None
        && router.gate_weights == GateWeights::Renormalized
        && router.expert_selection == ExpertSelection::Probability
        && blend == DenseBranch::None
}

/// Reads a `config.json`. What a Mixtral's does not say is as in transformers.
///
/// # Errors
/// When it describes no model with experts, naming what.
pub fn from_json(json: &Value) -> Result<MoeConfig> {
    let mut json = json.clone();
    let fields = json.as_object_mut().context("no JSON object")?;
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
            fields.insert("model_type".into(), json!("mistral")); // which it is, but for the experts
            fields.insert("router_weights".into(), json!("renormalized"));
        }
        Some(OURS) if fields.contains_key("num_local_experts") => {}
        other => bail!("model_type `{}` has no experts", other.unwrap_or("none")),
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
            _ => bail!("`router_weights` is {}", json["router_weights"]),
        },
        expert_selection: match json["router_selection"].as_str() {
            None | Some("probability") => ExpertSelection::Probability,
            Some("biased") => ExpertSelection::Biased,
            Some(other) => bail!("`router_selection` is `{other}`"),
        },
    };
    let blend = match &json["dense_share"] {
        Value::Null => DenseBranch::None,
        share => {
            let dense_share =
                share.as_f64().with_context(|| format!("`dense_share` is {share}"))?;
            DenseBranch::Weighted { dense_weight: dense_share }
        }
    };
    let config = MoeConfig { model: config_json::from_json(&json)?, router, dense_branch: blend };
    config.check()?;
    Ok(config)
}
