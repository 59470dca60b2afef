//! The model families under transformers' names, and the defaults of each for keys that a file
//! leaves out.

use crate::config::{
    AttentionBias, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm, SlidingWindow,
};

/// Model family, which decides the defaults of a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
    /// Any other combination, unknown to transformers.
    Custom,
}

impl Family {
    pub(super) const ALL: [Self; 6] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::SmolLm3, Self::Custom];

    /// Value of `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::SmolLm3 => "smollm3",
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
            Self::SmolLm3 => "SmolLM3ForCausalLM",
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
        let family = match (attention.bias, attention.qk_norm, attention.window) {
            (AttentionBias::None | AttentionBias::All, QkNorm::None, None) if divisible => {
                Self::Llama
            }
            (AttentionBias::None, QkNorm::None, Some(SlidingWindow { sinks: 0, .. })) => {
                Self::Mistral
            }
            (AttentionBias::Qkv, QkNorm::None, None) if square => Self::Qwen2,
            (AttentionBias::None | AttentionBias::All, QkNorm::PerHead, None) => Self::Qwen3,
            _ => Self::Custom,
        };
        match (family, attention.no_rope_interval) {
            (family, None) => family,
            (Self::Llama, Some(_)) => Self::SmolLm3, // a Llama apart from the layers without RoPE
            (_, Some(_)) => Self::Custom,
        }
    }

    /// Defaults of a model with `n_embd` channels and `n_head` heads.
    pub(super) fn defaults(self, n_embd: usize, n_head: usize) -> Defaults {
        let llama = Defaults {
            max_position_embeddings: 2048,
            num_key_value_heads: n_head,
            head_dim: n_embd / n_head.max(1),
            rope_theta: 10_000.,
            lm_head: LmHead::Untied,
            sliding_window: None,
            max_window_layers: 0,
            no_rope_interval: None,
        };
        let mistral = Defaults {
            max_position_embeddings: 131_072,
            num_key_value_heads: 8,
            sliding_window: Some(4096),
            ..llama
        };
        let qwen2 = Defaults {
            max_position_embeddings: 32_768,
            num_key_value_heads: 32,
            max_window_layers: 28,
            ..mistral
        };
        match self {
            Self::Llama | Self::Custom => llama,
            Self::Mistral => mistral,
            Self::Qwen2 => qwen2,
            Self::Qwen3 => Defaults { head_dim: 128, ..qwen2 },
            Self::SmolLm3 => Defaults {
                max_position_embeddings: 32_768,
                num_key_value_heads: 4,
                rope_theta: 2e6,
                lm_head: LmHead::Tied,
                no_rope_interval: Some(4),
                ..llama
            },
        }
    }
}

/// Values of transformers' classes for keys that a file leaves out. All classes also have only
/// the biases that the family always has, and ε = 1e-6.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) max_position_embeddings: usize,
    pub(super) num_key_value_heads: usize,
    pub(super) head_dim: usize,
    pub(super) rope_theta: f64,
    pub(super) lm_head: LmHead,
    /// For Qwen, only if `use_sliding_window` is set.
    pub(super) sliding_window: Option<usize>,
    /// Index of the first layer with a window.
    pub(super) max_window_layers: usize,
    pub(super) no_rope_interval: Option<usize>,
}
