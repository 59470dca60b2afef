//! Architectures of llama.cpp that can be read, with what their files leave out because llama.cpp's
//! source has it.

use anyhow::{Context, Result};

use crate::config_json::unsupported_family;
use crate::gguf::Gguf;

/// Tensors with LongRoPE's divisors, for short texts and for long ones.
pub(crate) const ROPE_FACTORS: [&str; 2] =
    ["rope_factors_short.weight", "rope_factors_long.weight"];

/// Architecture of a GGUF file, `general.architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufFamily {
    /// Llama and Mistral, and Mixtral, which the number of its experts tells apart.
    Llama,
    SmolLm3,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Phi3,
    Gemma,
    Gemma2,
    /// All sizes. (The files of those that also read images have the text model alone.)
    Gemma3,
    Gpt2,
    GptNeoX,
}

impl GgufFamily {
    const ALL: [Self; 11] = [
        Self::Llama,
        Self::SmolLm3,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3Moe,
        Self::Phi3,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Gpt2,
        Self::GptNeoX,
    ];

    /// Architecture of the model in `file`.
    ///
    /// # Errors
    /// When it is not one of these.
    pub(crate) fn of(file: &Gguf) -> Result<Self> {
        let name = file.get_str("general.architecture")?;
        let family = Self::ALL.into_iter().find(|family| family.name() == name);
        family.with_context(|| {
            format!("architecture {}", unsupported_family(name, &Self::ALL.map(Self::name)))
        })
    }

    /// Name in a file, which also begins the keys of its metadata.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::SmolLm3 => "smollm3",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3moe",
            Self::Phi3 => "phi3",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Gpt2 => "gpt2",
            Self::GptNeoX => "gptneox",
        }
    }

    /// True if llama.cpp's RoPE rotates adjacent channels of a head, so that the rows of the query
    /// and key matrices have another order in the file. In the other families it rotates halves, as
    /// we do.
    pub(crate) fn rotates_adjacent_channels(self) -> bool {
        matches!(self, Self::Llama | Self::SmolLm3)
    }

    /// True if RoPE may leave out some channels of a head.
    pub(crate) fn has_partial_rope(self) -> bool {
        matches!(self, Self::Phi3 | Self::GptNeoX)
    }

    /// True if the tensor `name` is no weight, but the divisors of RoPE's frequencies.
    pub(crate) fn has_rope_factors(self, name: &str) -> bool {
        name == "rope_freqs.weight" || (self == Self::Phi3 && ROPE_FACTORS.contains(&name))
    }

    /// True for Gemma 1 to 3. Their norms scale by 1 + weight, and the file has the sum.
    pub(crate) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }

    /// n if every n-th layer leaves queries and keys unrotated.
    pub(crate) fn no_rope_interval(self) -> Option<usize> {
        (self == Self::SmolLm3).then_some(4)
    }

    /// n if every n-th layer has full attention in spite of the window.
    pub(crate) fn full_attention_interval(self) -> Option<usize> {
        match self {
            Self::Gemma2 => Some(2),
            Self::Gemma3 => Some(6),
            _ => None,
        }
    }

    /// Size of the window of a file that does not name it.
    pub(crate) fn default_window(self) -> Option<usize> {
        (self == Self::Gemma2).then_some(4096)
    }

    /// θ of RoPE in the layers with a window, of a file that does not name it; `None`: that of the
    /// other layers.
    pub(crate) fn local_rope_base(self) -> Option<f64> {
        (self == Self::Gemma3).then_some(10_000.)
    }

    /// Soft cap of the attention logits of a file that does not name it; `None` if the
    /// architecture has none.
    pub(crate) fn attn_logit_softcap(self) -> Option<f64> {
        (self == Self::Gemma2).then_some(50.)
    }

    /// Soft cap of the logits of a file that does not name it.
    pub(crate) fn final_logit_softcap(self) -> Option<f64> {
        (self == Self::Gemma2).then_some(30.)
    }

    /// s in the attention logits q · k / √s of a model of these sizes: C / H in the models of 27
    /// billion parameters, which llama.cpp, too, tells by the number of their layers; else D.
    pub(crate) fn query_pre_attn_scalar(
        self,
        n_layer: usize,
        n_embd: usize,
        n_head: usize,
    ) -> Option<usize> {
        match (self, n_layer) {
            (Self::Gemma2, 46) | (Self::Gemma3, 62) => n_embd.checked_div(n_head),
            _ => None,
        }
    }
}
