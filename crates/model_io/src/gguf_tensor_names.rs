//! llama.cpp's names of tensors, converted to Hugging Face's: `blk.3.attn_q.weight` becomes
//! `model.layers.3.self_attn.q_proj.weight`.

use crate::TensorNames;
use crate::config::{BlockLayout, Mlp, ModelConfig, PositionEncoding, QkvProjections};

/// Hugging Face's name of a tensor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HfName {
    /// Name of the tensor.
    One(String),
    /// Names of the matrices that the tensor stacks, one for each expert.
    Experts(ExpertNames),
}

/// Names of a matrix of each expert, which differ in the expert's number alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExpertNames {
    /// Name up to the number.
    prefix: String,
    /// Name after the number.
    suffix: String,
}

impl ExpertNames {
    /// Name of the matrix of expert `expert`, counted from 0.
    pub(crate) fn name(&self, expert: usize) -> String {
        format!("{}.{expert}.{}", self.prefix, self.suffix)
    }
}

/// Hugging Face's name of llama.cpp's tensor `name`; `None` for a tensor unknown in a model of this
/// config.
pub(crate) fn hf_name(name: &str, config: &ModelConfig) -> Option<HfName> {
    let names = TensorNames::of(config);
    let TensorNames { model, layers, .. } = names;
    let (module, kind) = name.rsplit_once('.')?;
    let learned = matches!(config.attention.position, PositionEncoding::Learned { .. });
    let hf_module = match module {
        "token_embd" => format!("{model}.{}", names.embed_tokens),
        "position_embd" if learned => format!("{model}.{}", names.embed_positions),
        "output_norm" => format!("{model}.{}", names.norm),
        "output" => names.lm_head.to_string(),
        _ => {
            let (layer, part) = module.strip_prefix("blk.")?.split_once('.')?;
            let block = format!("{model}.{layers}.{layer}");
            if let Mlp::Experts { .. } = config.mlp
                && let Some(name) =
                    expert_tensor(part, &format!("{block}.{}", names.mlp), kind, &names)
            {
                return Some(name);
            }
            format!("{block}.{}", block_part(part, config, &names)?)
        }
    };
    Some(HfName::One(format!("{hf_module}.{kind}")))
}

/// Name of a module in a block, apart from those of experts.
fn block_part(part: &str, config: &ModelConfig, names: &TensorNames) -> Option<String> {
    let [attention_output_norm, mlp_output_norm] = names.output_norms;
    let has_output_norms = config.block == BlockLayout::SandwichNorm;
    let is_fused = config.attention.projections != QkvProjections::Separate;
    let in_attention = |module: &str| format!("{}.{module}", names.attention);
    let in_mlp = |module: &str| format!("{}.{module}", names.mlp);
    Some(match (part, config.mlp) {
        ("attn_norm", _) => names.attention_norm.to_string(),
        ("ffn_norm", _) => names.mlp_norm.to_string(),
        ("post_attention_norm", _) if has_output_norms => attention_output_norm.to_string(),
        ("post_ffw_norm", _) if has_output_norms => mlp_output_norm.to_string(),
        ("attn_qkv", _) if is_fused => in_attention(names.qkv_proj),
        ("attn_q", _) if !is_fused => in_attention("q_proj"),
        ("attn_k", _) if !is_fused => in_attention("k_proj"),
        ("attn_v", _) if !is_fused => in_attention("v_proj"),
        ("attn_output", _) => in_attention(names.o_proj),
        ("attn_q_norm", _) => in_attention("q_norm"),
        ("attn_k_norm", _) => in_attention("k_norm"),
        (_, Mlp::Experts { .. }) => return None,
        ("ffn_up", Mlp::Gelu { .. }) => in_mlp(names.fc),
        ("ffn_down", Mlp::Gelu { .. }) => in_mlp(names.proj),
        ("ffn_up", Mlp::FusedSwiGlu { .. }) => in_mlp("gate_up_proj"),
        ("ffn_gate", Mlp::SwiGlu { .. } | Mlp::GeGlu { .. }) => in_mlp("gate_proj"),
        ("ffn_up", _) => in_mlp("up_proj"),
        ("ffn_down", _) => in_mlp("down_proj"),
        _ => return None,
    })
}

/// Name of the router of a mixture of experts, the layer `mlp`, or of matrices of its experts:
/// stacked in one tensor, as `ffn_up_exps`, or in older files each in its own, as `ffn_up.0`.
fn expert_tensor(part: &str, mlp: &str, kind: &str, names: &TensorNames) -> Option<HfName> {
    if part == "ffn_gate_inp" {
        return Some(HfName::One(format!("{mlp}.gate.{kind}")));
    }
    let [gate, up, down] = names.expert;
    let matrix = |part: &str| match part {
        "ffn_gate" => Some(gate),
        "ffn_up" => Some(up),
        "ffn_down" => Some(down),
        _ => None,
    };
    if let Some(part) = part.strip_suffix("_exps") {
        let (prefix, suffix) = (format!("{mlp}.experts"), format!("{}.{kind}", matrix(part)?));
        return Some(HfName::Experts(ExpertNames { prefix, suffix }));
    }
    let (part, expert) = part.split_once('.')?;
    Some(HfName::One(format!("{mlp}.experts.{expert}.{}.{kind}", matrix(part)?)))
}
