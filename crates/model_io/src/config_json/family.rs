//! The model families under transformers' names, and the defaults of each for keys that a file
//! leaves out.

use crate::config::{
    AttentionBias, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm, SlidingWindow,
};

/// Model family, which decides the defaults of a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    /// Any other combination, unknown to transformers.
    Custom,
}

impl Family {
    pub(super) const ALL: [Self; 5] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Custom];

    /// Value of `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Custom => "llm_from_scratch",
        }
    }

    /// Model class in transformers, written as `architectures`.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Custom => "GptModern",
        }
    }

    /// Family that a configuration belongs to.
    pub(super) fn of(config: &ModelConfig) -> Self {
        let attention = config.attention;
        let components = (config.norm, config.mlp, attention.position);
        let (NormKind::Rms { .. }, Mlp::SwiGlu { .. }, PositionEncoding::Rope { .. }) = components
        else {
            return Self::Custom;
        };
        let square = attention.head_dim * attention.n_head == config.n_embd;
        // LlamaConfig requires this whatever `head_dim` is.
        let divisible = config.n_embd.is_multiple_of(attention.n_head);
        match (attention.bias, attention.qk_norm, attention.window) {
            (AttentionBias::None | AttentionBias::All, QkNorm::None, None) if divisible => {
                Self::Llama
            }
            (AttentionBias::None, QkNorm::None, Some(SlidingWindow { sinks: 0, .. })) => {
                Self::Mistral
            }
            (AttentionBias::Qkv, QkNorm::None, None) if square => Self::Qwen2,
            (AttentionBias::None | AttentionBias::All, QkNorm::PerHead, None) => Self::Qwen3,
            _ => Self::Custom,
        }
    }

    /// Default of `max_position_embeddings`. This and the following are the defaults of
    /// transformers' classes. All of them have untied embeddings, only the biases that the family
    /// always has, ε = 1e-6 and θ = 10,000.
    pub(super) fn default_context_len(self) -> usize {
        match self {
            Self::Llama | Self::Custom => 2048,
            Self::Mistral => 131_072,
            Self::Qwen2 | Self::Qwen3 => 32_768,
        }
    }

    /// Default of `num_key_value_heads`.
    pub(super) fn default_n_kv_head(self, n_head: usize) -> usize {
        match self {
            Self::Llama | Self::Custom => n_head,
            Self::Mistral => 8,
            Self::Qwen2 | Self::Qwen3 => 32,
        }
    }

    /// Default of `head_dim`.
    pub(super) fn default_head_dim(self, n_embd: usize, n_head: usize) -> usize {
        match self {
            Self::Qwen3 => 128,
            _ => n_embd / n_head.max(1),
        }
    }

    /// Default of `sliding_window` (for Qwen, if `use_sliding_window` is set).
    pub(super) fn default_window(self) -> Option<usize> {
        match self {
            Self::Llama | Self::Custom => None,
            Self::Mistral | Self::Qwen2 | Self::Qwen3 => Some(4096),
        }
    }

    /// Default of `max_window_layers`, the index of the first layer with a window.
    pub(super) fn default_first_window_layer(self) -> usize {
        match self {
            Self::Qwen2 | Self::Qwen3 => 28,
            _ => 0,
        }
    }
}
