//! Values of the families of transformers for keys that a file leaves out.

use super::family::Family;
use crate::config::LmHead;

/// Values of transformers' classes for keys that a file leaves out, of families with Llama's keys.
/// All classes also have only the biases that the family always has.
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
    /// ε of the norms.
    pub(super) eps: f64,
}

impl Family {
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
            eps: 1e-6,
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
            Self::Llama | Self::Gpt2 | Self::Opt | Self::GptNeoX | Self::Custom => llama,
            Self::Mistral => mistral,
            Self::Qwen2 => qwen2,
            Self::Mixtral => {
                Defaults { rope_theta: 1e6, sliding_window: None, eps: 1e-5, ..mistral }
            }
            Self::Qwen3 => Defaults { head_dim: 128, ..qwen2 },
            Self::Qwen3Moe => Defaults { num_key_value_heads: 4, max_window_layers: 0, ..qwen2 },
            Self::Phi3 => Defaults { max_position_embeddings: 4096, eps: 1e-5, ..llama },
            Self::Gemma => Defaults {
                max_position_embeddings: 8192,
                num_key_value_heads: 16,
                head_dim: 256,
                lm_head: LmHead::Tied,
                ..llama
            },
            Self::Gemma2 => Defaults {
                num_key_value_heads: 4,
                sliding_window: Some(4096),
                ..Self::Gemma.defaults(n_embd, n_head)
            },
            Self::Gemma3 => Defaults {
                max_position_embeddings: 131_072,
                rope_theta: 1e6,
                ..Self::Gemma2.defaults(n_embd, n_head)
            },
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
