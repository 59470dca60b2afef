//! The model families under transformers' names, and the family that a configuration belongs to.

use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, AttentionConfig, BlockLayout, ExpertWeights, Mlp, ModelConfig, NormKind,
    PositionEncoding, QkNorm, QkvProjections, RopeParameters, RopeScaling, SlidingWindow,
    TokenEmbedding,
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
        let plain = attention.logits.qk_norm == QkNorm::None
            && attention.window.is_none()
            && !has_layers_without_rope(&attention);
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
                PositionEncoding::Rope(_),
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
        let sinks = attention.sliding_window().is_some_and(|window| window.sinks > 0);
        let same_rope = attention.window.is_none_or(|window| window.local_rope_base.is_none());
        match (config.block, attention.logits.qk_norm) {
            (BlockLayout::PreNorm, QkNorm::None)
                if gemma_like && attention.window.is_none() && !has_gemma_2_options(config) =>
            {
                Self::Gemma
            }
            (BlockLayout::SandwichNorm, QkNorm::None)
                if gemma_like && divisible && !sinks && same_rope =>
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
        let PositionEncoding::Rope(rope) = attention.position else { return Self::Custom };
        if (config.block, config.embedding) != (BlockLayout::PreNorm, TokenEmbedding::Plain) {
            return Self::Custom;
        }
        let qk_norm = attention.logits.qk_norm == QkNorm::PerHead;
        let window = attention.sliding_window();
        let square = attention.head_dim * attention.n_head == config.n_embd;
        if attention.projections == QkvProjections::Fused {
            let is_phi3 = square
                && attention.bias == AttentionBias::None
                && !qk_norm
                && rope.no_rope_interval.is_none()
                && window.is_none_or(|window| window.sinks == 0)
                && matches!(config.mlp, Mlp::FusedSwiGlu { .. })
                && matches!(rope.scaling, None | Some(RopeScaling::Long(_)));
            return if is_phi3 { Self::Phi3 } else { Self::Custom };
        }
        if attention.projections != QkvProjections::Separate || rope.rotary_fraction != 1. {
            return Self::Custom;
        }
        // LlamaConfig requires this whatever `head_dim` is.
        let divisible = config.n_embd.is_multiple_of(attention.n_head);
        let family = match (config.mlp, attention.bias, qk_norm, window) {
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
        match (family, rope.no_rope_interval) {
            (family, None) => family,
            (Self::Llama, Some(_)) => Self::SmolLm3, // a Llama apart from the layers without RoPE
            (_, Some(_)) => Self::Custom,
        }
    }
}

/// True if `config` has a design choice that only Gemma 2 and 3 have, apart from their blocks.
fn has_gemma_2_options(config: &ModelConfig) -> bool {
    let AttentionConfig { window, logits, .. } = config.attention;
    config.logit_softcap.is_some()
        || logits.softcap.is_some()
        || logits.query_pre_attn_scalar.is_some()
        || window.is_some_and(|window| {
            window.full_attention_interval.is_some() || window.local_rope_base.is_some()
        })
}

/// True if the attention logits are not capped, and RoPE is scaled in layers without a window only.
fn has_gemma_3_layers(config: &ModelConfig) -> bool {
    let attention = config.attention;
    let scaled = attention.position.rope_parameters().is_some_and(|rope| rope.scaling.is_some());
    attention.logits.softcap.is_none()
        && (!scaled || attention.window.is_none_or(|window| window.local_rope_base.is_some()))
}

/// True if RoPE, scaled or not, rotates whole heads of all layers.
fn rotates_whole_heads(config: &ModelConfig) -> bool {
    matches!(
        config.attention.position,
        PositionEncoding::Rope(RopeParameters { rotary_fraction: 1., no_rope_interval: None, .. })
    )
}

fn has_layers_without_rope(attention: &AttentionConfig) -> bool {
    attention.position.rope_parameters().is_some_and(|rope| rope.no_rope_interval.is_some())
}
