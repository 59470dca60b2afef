//! Names of a model's tensors, which differ between the families of transformers. A model in memory
//! has those of its family's files, so that loading, saving and adapters need no renaming.

use crate::ModelConfig;
use crate::config::BlockLayout;
use crate::config_json::Family;

/// Names of the tensors of a family, without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorNames {
    /// Prefix of all tensors but the LM head.
    pub model: &'static str,
    /// Token embeddings, below `model`.
    pub embed_tokens: &'static str,
    /// Learned positions, below `model`.
    pub embed_positions: &'static str,
    /// Prefix of the numbered blocks, below `model`.
    pub layers: &'static str,
    /// Norm before the LM head, below `model`.
    pub norm: &'static str,
    /// LM head, at the root.
    pub lm_head: &'static str,
    /// Norm of attention, in a block.
    pub attention_norm: &'static str,
    /// Norm of the feed-forward layer, in a block.
    pub mlp_norm: &'static str,
    /// Norms of the outputs of attention and of the feed-forward layer, in a block that has them.
    pub output_norms: [&'static str; 2],
    /// Prefix of the attention layer, in a block.
    pub attention: &'static str,
    /// Fused projection of queries, keys and values, in the attention layer.
    pub qkv_proj: &'static str,
    /// Output projection, in the attention layer.
    pub o_proj: &'static str,
    /// Prefix of the feed-forward layer, in a block; empty if its matrices lie in the block itself.
    pub mlp: &'static str,
    /// First of the two matrices of an MLP.
    pub fc: &'static str,
    /// Second of the two matrices of an MLP.
    pub proj: &'static str,
    /// Gate, up and down projection of an expert.
    pub expert: [&'static str; 3],
}

impl TensorNames {
    /// Names of Llama, and of every model that resembles it.
    pub const LLAMA: Self = Self {
        model: "model",
        embed_tokens: "embed_tokens",
        embed_positions: "embed_positions",
        layers: "layers",
        norm: "norm",
        lm_head: "lm_head",
        attention_norm: "input_layernorm",
        mlp_norm: "post_attention_layernorm",
        output_norms: ["post_attention_layernorm", "post_feedforward_layernorm"],
        attention: "self_attn",
        qkv_proj: "qkv_proj",
        o_proj: "o_proj",
        mlp: "mlp",
        fc: "fc",
        proj: "proj",
        expert: ["gate_proj", "up_proj", "down_proj"],
    };
    /// `post_attention_layernorm` does follow attention here; in Llama it precedes the feed-forward
    /// layer.
    const GEMMA_2: Self = Self { mlp_norm: "pre_feedforward_layernorm", ..Self::LLAMA };
    const MIXTRAL: Self =
        Self { mlp: "block_sparse_moe", expert: ["w1", "w3", "w2"], ..Self::LLAMA };
    const GPT2: Self = Self {
        model: "transformer",
        embed_tokens: "wte",
        embed_positions: "wpe",
        layers: "h",
        norm: "ln_f",
        attention_norm: "ln_1",
        mlp_norm: "ln_2",
        attention: "attn",
        qkv_proj: "c_attn",
        o_proj: "c_proj",
        fc: "c_fc",
        proj: "c_proj",
        ..Self::LLAMA
    };
    const OPT: Self = Self {
        model: "model.decoder",
        norm: "final_layer_norm",
        attention_norm: "self_attn_layer_norm",
        mlp_norm: "final_layer_norm",
        o_proj: "out_proj",
        mlp: "",
        fc: "fc1",
        proj: "fc2",
        ..Self::LLAMA
    };
    const GPT_NEOX: Self = Self {
        model: "gpt_neox",
        embed_tokens: "embed_in",
        norm: "final_layer_norm",
        lm_head: "embed_out",
        attention: "attention",
        qkv_proj: "query_key_value",
        o_proj: "dense",
        fc: "dense_h_to_4h",
        proj: "dense_4h_to_h",
        ..Self::LLAMA
    };

    /// Names of the tensors of `config`'s family.
    pub fn of(config: &ModelConfig) -> Self {
        match Family::of(config) {
            Family::Gpt2 => Self::GPT2,
            Family::Opt => Self::OPT,
            Family::GptNeoX => Self::GPT_NEOX,
            Family::Mixtral => Self::MIXTRAL,
            Family::Gemma2 | Family::Gemma3 => Self::GEMMA_2,
            Family::Custom if config.block == BlockLayout::SandwichNorm => Self::GEMMA_2,
            Family::Llama
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Qwen3Moe
            | Family::SmolLm3
            | Family::Phi3
            | Family::Gemma
            | Family::Custom => Self::LLAMA,
        }
    }

    /// True if files store some matrices as (in, out), in GPT-2's "Conv1D" layers.
    pub fn has_transposed(&self) -> bool {
        *self == Self::GPT2
    }

    /// True if files store the matrix `name` as (in, out).
    pub(crate) fn is_transposed(&self, name: &str) -> bool {
        self.has_transposed() && is_conv1d(name)
    }

    /// True if files of the family may hold the tensor `name` although it is no parameter: RoPE
    /// frequencies, causal masks and versions, in old files.
    pub(crate) fn is_buffer(name: &str) -> bool {
        let masks =
            [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"];
        let others = [".rotary_emb.inv_freq", "decoder.version"];
        masks.iter().chain(&others).any(|buffer| name.ends_with(buffer))
    }

    /// Name in memory of the tensor that a file calls `name`: files of a model without its LM head
    /// lack the first part of `model`.
    pub(crate) fn in_memory(&self, name: &str) -> String {
        let (root, below) = self.model.split_once('.').unwrap_or((self.model, ""));
        let parts = match below {
            "" => vec![self.embed_tokens, self.embed_positions, self.layers, self.norm],
            below => vec![below],
        };
        let starts_with =
            |part: &&str| name.strip_prefix(*part).is_some_and(|rest| rest.starts_with('.'));
        let lacks_root = parts.iter().any(starts_with);
        if lacks_root { format!("{root}.{name}") } else { name.to_string() }
    }
}

/// True if GPT-2 stores this parameter as (in, out).
pub(crate) fn is_conv1d(name: &str) -> bool {
    ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|layer| name.ends_with(layer))
}
