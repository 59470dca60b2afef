//! The model families under transformers' names, and the family that a configuration belongs to.

use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, BlockLayout, ExpertWeights, Mlp, ModelConfig, NormKind, PositionEncoding,
    QkNorm, QkvProjections, RopeScaling, SlidingWindow, TokenEmbedding,
};

/// Model family, which decides the defaults of a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    SmolLm3,
    Phi3,
    Gemma,
    Gemma2,
    /// The models without a vision tower.
    Gemma3,
    Gpt2,
    Opt,
    GptNeoX,
    /// Any other combination, unknown to transformers.
    Custom,
}

impl Family {
    pub(super) const ALL: [Self; 15] = [
        Self::Llama,
        Self::Mistral,
        Self::Mixtral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3Moe,
        Self::SmolLm3,
        Self::Phi3,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Gpt2,
        Self::Opt,
        Self::GptNeoX,
        Self::Custom,
    ];

    /// Value of `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Mixtral => "mixtral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3_moe",
            Self::SmolLm3 => "smollm3",
            Self::Phi3 => "phi3",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Gpt2 => "gpt2",
            Self::Opt => "opt",
            Self::GptNeoX => "gpt_neox",
            Self::Custom => "llm_from_scratch",
        }
    }

    /// Model class in transformers, written as `architectures`.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Mixtral => "MixtralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Qwen3Moe => "Qwen3MoeForCausalLM",
            Self::SmolLm3 => "SmolLM3ForCausalLM",
            Self::Phi3 => "Phi3ForCausalLM",
            Self::Gemma => "GemmaForCausalLM",
            Self::Gemma2 => "Gemma2ForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
            Self::Gpt2 => "GPT2LMHeadModel",
            Self::Opt => "OPTForCausalLM",
            Self::GptNeoX => "GPTNeoXForCausalLM",
            Self::Custom => "GptModern",
        }
    }

    /// Family that a configuration belongs to.
    pub(crate) fn of(config: &ModelConfig) -> Self {
        match config.norm {
            NormKind::ZeroCenteredRms { .. } => Self::with_zero_centered_rms_norm(config),
            _ if has_gemma_2_options(config) => Self::Custom,
            NormKind::Layer { eps } => Self::with_layer_norm(config, eps),
            NormKind::Rms { .. } => Self::with_rms_norm(config),
        }
    }

    fn with_layer_norm(config: &ModelConfig, eps: f64) -> Self {
        let attention = config.attention;
        let square = attention.n_head == attention.n_kv_head
            && attention.head_dim * attention.n_head == config.n_embd;
        let plain = attention.qk_norm == QkNorm::None
            && attention.window.is_none()
            && attention.no_rope_interval.is_none();
        if !(square && plain && attention.bias == AttentionBias::All) {
            return Self::Custom;
        }
        match (attention.projections, attention.position, config.mlp, config.block) {
            (
                QkvProjections::Fused,
                PositionEncoding::Learned { offset: 0 },
                Mlp::Gelu { .. } | Mlp::Relu { .. },
                BlockLayout::PreNorm,
            ) if config.embedding == TokenEmbedding::Plain => Self::Gpt2,
            (
                QkvProjections::Separate,
                PositionEncoding::Learned { offset: 2 },
                Mlp::Gelu { .. } | Mlp::Relu { .. },
                BlockLayout::PreNorm | BlockLayout::PostNorm,
            ) if eps == 1e-5 && config.embedding != TokenEmbedding::Scaled => Self::Opt,
            (
                QkvProjections::FusedPerHead,
                PositionEncoding::Rope { .. },
                Mlp::Gelu { .. } | Mlp::Relu { .. },
                BlockLayout::Parallel | BlockLayout::PreNorm,
            ) if config.embedding == TokenEmbedding::Plain => Self::GptNeoX,
            _ => Self::Custom,
        }
    }

    fn with_zero_centered_rms_norm(config: &ModelConfig) -> Self {
        let attention = config.attention;
        let gemma_like = config.embedding == TokenEmbedding::Scaled
            && attention.projections == QkvProjections::Separate
            && matches!(attention.bias, AttentionBias::None | AttentionBias::All)
            && rotates_whole_heads(config)
            && matches!(config.mlp, Mlp::GeGlu { form: Gelu::Tanh, .. });
        // Both later configurations require this whatever `head_dim` is.
        let divisible = config.n_embd.is_multiple_of(attention.n_head);
        let sinks = attention.window.is_some_and(|window| window.sinks > 0);
        match (config.block, attention.qk_norm) {
            (BlockLayout::PreNorm, QkNorm::None)
                if gemma_like && attention.window.is_none() && !has_gemma_2_options(config) =>
            {
                Self::Gemma
            }
            (BlockLayout::SandwichNorm, QkNorm::None)
                if gemma_like && divisible && !sinks && attention.local_rope_base.is_none() =>
            {
                Self::Gemma2
            }
            (BlockLayout::SandwichNorm, QkNorm::PerHead)
                if gemma_like && divisible && !sinks && has_gemma_3_layers(config) =>
            {
                Self::Gemma3
            }
            _ => Self::Custom,
        }
    }

    fn with_rms_norm(config: &ModelConfig) -> Self {
        let attention = config.attention;
        let rope = matches!(attention.position, PositionEncoding::Rope { .. });
        let llama_like = rope
            && config.block == BlockLayout::PreNorm
            && config.embedding == TokenEmbedding::Plain;
        if !llama_like {
            return Self::Custom;
        }
        let square = attention.head_dim * attention.n_head == config.n_embd;
        if attention.projections == QkvProjections::Fused {
            let is_phi3 = square
                && attention.bias == AttentionBias::None
                && attention.qk_norm == QkNorm::None
                && attention.no_rope_interval.is_none()
                && attention.window.is_none_or(|window| window.sinks == 0)
                && matches!(config.mlp, Mlp::FusedSwiGlu { .. })
                && matches!(
                    attention.position,
                    PositionEncoding::Rope { scaling: None | Some(RopeScaling::Long(_)), .. }
                );
            return if is_phi3 { Self::Phi3 } else { Self::Custom };
        }
        if attention.projections != QkvProjections::Separate || attention.rotary_fraction != 1. {
            return Self::Custom;
        }
        // LlamaConfig requires this whatever `head_dim` is.
        let divisible = config.n_embd.is_multiple_of(attention.n_head);
        let (mlp, window) = (config.mlp, attention.window);
        let qk_norm = attention.qk_norm == QkNorm::PerHead;
        let family = match (mlp, attention.bias, qk_norm, window) {
            (Mlp::SwiGlu { .. }, AttentionBias::None | AttentionBias::All, false, None)
                if divisible =>
            {
                Self::Llama
            }
            (
                Mlp::SwiGlu { .. },
                AttentionBias::None,
                false,
                Some(SlidingWindow { sinks: 0, .. }),
            ) => Self::Mistral,
            (Mlp::SwiGlu { .. }, AttentionBias::Qkv, false, None) if square => Self::Qwen2,
            (Mlp::SwiGlu { .. }, AttentionBias::None | AttentionBias::All, true, None) => {
                Self::Qwen3
            }
            (
                Mlp::Experts { weights: ExpertWeights::Renormalized, .. },
                AttentionBias::None,
                false,
                None | Some(SlidingWindow { sinks: 0, .. }),
            ) => Self::Mixtral,
            (Mlp::Experts { .. }, AttentionBias::None | AttentionBias::All, true, None) => {
                Self::Qwen3Moe
            }
            _ => Self::Custom,
        };
        match (family, attention.no_rope_interval) {
            (family, None) => family,
            (Self::Llama, Some(_)) => Self::SmolLm3, // a Llama apart from the layers without RoPE
            (_, Some(_)) => Self::Custom,
        }
    }
}

/// True if `config` has a design choice that only Gemma 2 and 3 have, apart from their blocks.
fn has_gemma_2_options(config: &ModelConfig) -> bool {
    let attention = config.attention;
    config.logit_softcap.is_some()
        || attention.logit_softcap.is_some()
        || attention.query_pre_attn_scalar.is_some()
        || attention.full_attention_interval.is_some()
        || attention.local_rope_base.is_some()
}

/// True if the attention logits are not capped, and RoPE is scaled in layers without a window only.
fn has_gemma_3_layers(config: &ModelConfig) -> bool {
    let attention = config.attention;
    let scaled = matches!(attention.position, PositionEncoding::Rope { scaling: Some(_), .. });
    attention.logit_softcap.is_none()
        && (attention.window.is_none() || attention.local_rope_base.is_some() || !scaled)
}

/// True if RoPE, scaled or not, rotates whole heads of all layers.
fn rotates_whole_heads(config: &ModelConfig) -> bool {
    let attention = config.attention;
    matches!(attention.position, PositionEncoding::Rope { .. })
        && attention.rotary_fraction == 1.
        && attention.no_rope_interval.is_none()
}
