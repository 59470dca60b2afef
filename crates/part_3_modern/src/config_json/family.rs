//! The families of models, by the names that transformers gives them, and what each assumes where a file is silent.

use crate::config::{
    AttentionBias, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm, SlidingWindow,
};

/// Whose habits a `config.json` follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    /// What transformers does not know.
    Custom,
}

impl Family {
    pub(super) const ALL: [Self; 5] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Custom];

    /// `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Custom => "llm_from_scratch",
        }
    }

    /// The class that transformers opens it with.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Custom => "GptModern",
        }
    }

    /// The family that has models like this one.
    pub(super) fn of(config: &ModelConfig) -> Self {
        let attention = config.attention;
        let theirs = (config.norm, config.mlp, attention.position);
        let (NormKind::Rms { .. }, Mlp::SwiGlu { .. }, PositionEncoding::Rope { .. }) = theirs
        else {
            return Self::Custom;
        };
        let whole = attention.head_dim * attention.n_head == config.n_embd;
        let divisible = config.n_embd.is_multiple_of(attention.n_head); // LlamaConfig insists, whatever `head_dim` says
        match (attention.bias, attention.qk_norm, attention.window) {
            (AttentionBias::None | AttentionBias::All, QkNorm::None, None) if divisible => {
                Self::Llama
            }
            (AttentionBias::None, QkNorm::None, Some(SlidingWindow { sinks: 0, .. })) => {
                Self::Mistral
            }
            (AttentionBias::Qkv, QkNorm::None, None) if whole => Self::Qwen2,
            (AttentionBias::None | AttentionBias::All, QkNorm::PerHead, None) => Self::Qwen3,
            _ => Self::Custom,
        }
    }

    /// `max_position_embeddings`, if none is given. This and the following are the defaults of transformers' classes, all of
    /// which tie nothing, add no bias that the family does not always have, and have ε = 1e-6 and θ = 10,000.
    pub(super) fn default_context_len(self) -> usize {
        match self {
            Self::Llama | Self::Custom => 2048,
            Self::Mistral => 131_072,
            Self::Qwen2 | Self::Qwen3 => 32_768,
        }
    }

    /// `num_key_value_heads`, if none is given.
    pub(super) fn default_n_kv_head(self, n_head: usize) -> usize {
        match self {
            Self::Llama | Self::Custom => n_head,
            Self::Mistral => 8,
            Self::Qwen2 | Self::Qwen3 => 32,
        }
    }

    /// `head_dim`, if none is given.
    pub(super) fn default_head_dim(self, n_embd: usize, n_head: usize) -> usize {
        match self {
            Self::Qwen3 => 128,
            _ => n_embd / n_head.max(1),
        }
    }

    /// `sliding_window`, if none is given (and, for Qwen, it is used at all).
    pub(super) fn default_window(self) -> Option<usize> {
        match self {
            Self::Llama | Self::Custom => None,
            Self::Mistral | Self::Qwen2 | Self::Qwen3 => Some(4096),
        }
    }

    /// `max_window_layers`, if none is given: the first layer that looks through the window.
    pub(super) fn default_first_window_layer(self) -> usize {
        match self {
            Self::Qwen2 | Self::Qwen3 => 28,
            _ => 0,
        }
    }
}
