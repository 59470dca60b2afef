//! The feed-forward layer in a `config.json`.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tensor_core::ops::Gelu;

use super::family::Family;
use crate::config::{ExpertWeights, Mlp};
use crate::json_fields::Fields;

/// Feed-forward layer of a model of `family` that has Llama's keys.
pub(super) fn read(family: Family, fields: Fields<'_>) -> Result<Mlp> {
    let (key, default) = match family {
        Family::Gemma => ("hidden_act", "gelu_pytorch_tanh"),
        Family::Gemma2 | Family::Gemma3 => ("hidden_activation", "gelu_pytorch_tanh"),
        _ => ("hidden_act", "silu"),
    };
    let name = fields.string(key)?.unwrap_or(default);
    match (family, name) {
        (Family::Custom, _) => return read_custom(name, fields),
        // Gemma's oldest files have `gelu` and mean its approximation.
        (Family::Gemma, "gelu") => {}
        (_, name) => ensure!(name == default, "`{key}` is `{name}`, expected `{default}`"),
    }
    if let Family::Mixtral | Family::Qwen3Moe = family {
        return read_experts(family, fields);
    }
    let width = fields.size("intermediate_size")?;
    Ok(match family {
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => Mlp::GeGlu { width, form: Gelu::Tanh },
        Family::Phi3 => Mlp::FusedSwiGlu { width },
        _ => Mlp::SwiGlu { width },
    })
}

fn read_experts(family: Family, fields: Fields<'_>) -> Result<Mlp> {
    if family == Family::Mixtral {
        return Ok(Mlp::Experts {
            width: fields.size("intermediate_size")?,
            n_expert: fields.size_or("num_local_experts", 8)?,
            top_k: fields.size_or("num_experts_per_tok", 2)?,
            weights: ExpertWeights::Renormalized,
        });
    }
    let dense = fields.value("mlp_only_layers").and_then(Value::as_array);
    let all_sparse =
        dense.is_none_or(Vec::is_empty) && fields.size_or("decoder_sparse_step", 1)? == 1;
    ensure!(
        all_sparse,
        "`mlp_only_layers` or `decoder_sparse_step` asks for layers without experts, which is not \
         supported"
    );
    let n_expert = fields.size_or("num_local_experts", 128)?;
    Ok(Mlp::Experts {
        width: fields.size_or("moe_intermediate_size", 768)?,
        n_expert: fields.size_or("num_experts", n_expert)?,
        top_k: fields.size_or("num_experts_per_tok", 8)?,
        weights: match fields.flag("norm_topk_prob")? {
            true => ExpertWeights::Renormalized,
            false => ExpertWeights::Raw,
        },
    })
}

fn read_custom(name: &str, fields: Fields<'_>) -> Result<Mlp> {
    let width = fields.size("intermediate_size")?;
    match (fields.string("mlp")?, name) {
        (None | Some("gated"), "silu") => Ok(Mlp::SwiGlu { width }),
        (Some("fused"), "silu") => Ok(Mlp::FusedSwiGlu { width }),
        (Some("experts"), "silu") => read_experts(Family::Qwen3Moe, fields),
        (Some("gated"), "gelu") => Ok(Mlp::GeGlu { width, form: Gelu::Exact }),
        (Some("gated"), "gelu_pytorch_tanh") => Ok(Mlp::GeGlu { width, form: Gelu::Tanh }),
        (None | Some("plain"), _) => two_layer(fields, "hidden_act", "gelu_new", width),
        (Some(mlp), name) => bail!("`mlp` is `{mlp}` and `hidden_act` is `{name}`"),
    }
}

/// MLP of two layers, with the activation of `key`.
pub(super) fn two_layer(fields: Fields<'_>, key: &str, default: &str, width: usize) -> Result<Mlp> {
    Ok(match fields.string(key)?.unwrap_or(default) {
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Mlp::Gelu { width, form: Gelu::Tanh },
        "gelu" => Mlp::Gelu { width, form: Gelu::Exact },
        "relu" => Mlp::Relu { width },
        other => bail!("`{key}` is `{other}`, expected `gelu_new`, `gelu` or `relu`"),
    })
}

/// Activation of `mlp` in transformers' words.
pub(super) fn activation(mlp: Mlp) -> &'static str {
    match mlp {
        Mlp::SwiGlu { .. } | Mlp::FusedSwiGlu { .. } | Mlp::Experts { .. } => "silu",
        Mlp::GeGlu { form: Gelu::Tanh, .. } => "gelu_pytorch_tanh",
        Mlp::Gelu { form: Gelu::Tanh, .. } => "gelu_new",
        Mlp::GeGlu { form: Gelu::Exact, .. } | Mlp::Gelu { form: Gelu::Exact, .. } => "gelu",
        Mlp::Relu { .. } => "relu",
    }
}

/// Kind of `mlp` in a file of our own `model_type`.
pub(super) fn custom_name(mlp: Mlp) -> &'static str {
    match mlp {
        Mlp::SwiGlu { .. } | Mlp::GeGlu { .. } => "gated",
        Mlp::FusedSwiGlu { .. } => "fused",
        Mlp::Gelu { .. } | Mlp::Relu { .. } => "plain",
        Mlp::Experts { .. } => "experts",
    }
}

/// Adds the keys of a mixture of experts: Mixtral's and Qwen3-MoE's.
pub(super) fn write_experts(json: &mut Value, mlp: Mlp) {
    let Mlp::Experts { width, n_expert, top_k, weights } = mlp else { return };
    json["num_local_experts"] = json!(n_expert);
    json["num_experts"] = json!(n_expert);
    json["num_experts_per_tok"] = json!(top_k);
    json["moe_intermediate_size"] = json!(width);
    json["norm_topk_prob"] = json!(weights == ExpertWeights::Renormalized);
    json["output_router_logits"] = json!(false);
}
