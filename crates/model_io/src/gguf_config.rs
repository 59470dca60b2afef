//! Architecture of the model in a GGUF file, from its metadata, from the names of its tensors, and
//! from what llama.cpp knows of its family.

use anyhow::{Context, Result};
use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, AttentionConfig, AttentionLogits, BlockLayout, ExpertWeights, LayerWindow,
    LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm, QkvProjections, RopeParameters,
    SlidingWindow, TokenEmbedding,
};
use crate::gguf::Gguf;
use crate::gguf_family::GgufFamily;
use crate::gguf_family_metadata::Metadata;
use crate::gguf_rope;

/// Configuration of the model in `file`.
pub(crate) fn read(file: &Gguf) -> Result<ModelConfig> {
    let family = GgufFamily::of(file)?;
    let metadata = Metadata { file, family };
    let embeddings = file.tensor_info("token_embd.weight")?;
    let has_lm_head = file.tensor_info("output.weight").is_ok();
    let is_gemma = family.is_gemma();
    let config = ModelConfig {
        vocab_size: *embeddings.dims.first().context("`token_embd.weight` is not a matrix")?,
        n_layer: metadata.size("block_count")?,
        n_embd: metadata.size("embedding_length")?,
        context_len: metadata.size("context_length")?,
        embedding: if is_gemma { TokenEmbedding::Scaled } else { TokenEmbedding::Plain },
        norm: norm(metadata)?,
        block: match family {
            GgufFamily::Gemma2 | GgufFamily::Gemma3 => BlockLayout::SandwichNorm,
            GgufFamily::GptNeoX if metadata.flag("use_parallel_residual")? => BlockLayout::Parallel,
            _ => BlockLayout::PreNorm,
        },
        attention: attention(metadata)?,
        mlp: mlp(metadata)?,
        lm_head: if has_lm_head { LmHead::Untied } else { LmHead::Tied },
        logit_softcap: match family {
            GgufFamily::Gemma2 | GgufFamily::Gemma3 => {
                let cap = metadata.optional_number("final_logit_softcapping")?;
                cap.or(family.final_logit_softcap()).filter(|&cap| cap != 0.)
            }
            _ => None,
        },
        init_std: ModelConfig::GPT2_INIT_STD,
    };
    config.validate()?;
    Ok(config)
}

fn norm(metadata: Metadata<'_>) -> Result<NormKind> {
    let rms = || metadata.number("attention.layer_norm_rms_epsilon");
    Ok(match metadata.family {
        GgufFamily::Gpt2 | GgufFamily::GptNeoX => {
            NormKind::Layer { eps: metadata.number("attention.layer_norm_epsilon")? }
        }
        family if family.is_gemma() => NormKind::ZeroCenteredRms { eps: rms()? },
        _ => NormKind::Rms { eps: rms()? },
    })
}

/// Feed-forward layer, or a mixture of experts.
fn mlp(metadata: Metadata<'_>) -> Result<Mlp> {
    let width = metadata.size("feed_forward_length")?;
    let n_expert = metadata.optional_size("expert_count")?.unwrap_or(0);
    Ok(match metadata.family {
        GgufFamily::Llama if n_expert > 0 => experts(metadata, n_expert, width)?,
        GgufFamily::Qwen3Moe => {
            experts(metadata, n_expert, metadata.size("expert_feed_forward_length")?)?
        }
        GgufFamily::Phi3 => Mlp::FusedSwiGlu { width },
        GgufFamily::Gpt2 => Mlp::Gelu { width, form: Gelu::Tanh },
        GgufFamily::GptNeoX => {
            // The approximation is that of GPT-NeoX-20B; Pythia's models have fewer layers.
            let is_20b = metadata.size("block_count")? == 44;
            Mlp::Gelu { width, form: if is_20b { Gelu::Tanh } else { Gelu::Exact } }
        }
        family if family.is_gemma() => Mlp::GeGlu { width, form: Gelu::Tanh },
        _ => Mlp::SwiGlu { width },
    })
}

/// Mixture of `n_expert` experts, whose weights llama.cpp always divides by their sum.
fn experts(metadata: Metadata<'_>, n_expert: usize, width: usize) -> Result<Mlp> {
    let top_k = metadata.size("expert_used_count")?;
    Ok(Mlp::Experts { width, n_expert, top_k, weights: ExpertWeights::Renormalized })
}

/// Attention heads, biases, position encoding and window.
fn attention(metadata: Metadata<'_>) -> Result<AttentionConfig> {
    let Metadata { file, family } = metadata;
    let has = |tensor: &str| file.tensor_info(tensor).is_ok();
    let (n_layer, n_embd) = (metadata.size("block_count")?, metadata.size("embedding_length")?);
    let n_head = metadata.size("attention.head_count")?;
    let head_dim =
        metadata.optional_size("attention.key_length")?.unwrap_or(n_embd / n_head.max(1));
    let position = match family {
        GgufFamily::Gpt2 => PositionEncoding::Learned { offset: 0 },
        _ => PositionEncoding::Rope(gguf_rope::read(metadata, head_dim)?),
    };
    let qk_norm = if has("blk.0.attn_q_norm.weight") { QkNorm::PerHead } else { QkNorm::None };
    let query_pre_attn_scalar = family.query_pre_attn_scalar(n_layer, n_embd, n_head);
    Ok(AttentionConfig {
        n_head,
        n_kv_head: metadata.optional_size("attention.head_count_kv")?.unwrap_or(n_head),
        head_dim,
        projections: match family {
            GgufFamily::Phi3 | GgufFamily::Gpt2 => QkvProjections::Fused,
            GgufFamily::GptNeoX => QkvProjections::FusedPerHead,
            _ => QkvProjections::Separate,
        },
        bias: match (family, has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias")) {
            (GgufFamily::Gpt2 | GgufFamily::GptNeoX, ..) | (_, true, true) => AttentionBias::All,
            (_, true, false) => AttentionBias::Qkv,
            _ => AttentionBias::None,
        },
        position,
        window: window(metadata, n_layer, position)?,
        logits: AttentionLogits {
            qk_norm,
            query_pre_attn_scalar: query_pre_attn_scalar.filter(|&scalar| scalar != head_dim),
            softcap: match family.attn_logit_softcap() {
                Some(default) => {
                    Some(metadata.optional_number("attn_logit_softcapping")?.unwrap_or(default))
                }
                None => None,
            },
        },
    })
}

/// The sliding window, which layers have it, and their θ where `position` has that of the others.
fn window(
    metadata: Metadata<'_>,
    n_layer: usize,
    position: PositionEncoding,
) -> Result<Option<LayerWindow>> {
    let family = metadata.family;
    let size = metadata.optional_size("attention.sliding_window")?.or(family.default_window());
    let Some(size) = size.filter(|&size| size > 0) else { return Ok(None) };
    let window = LayerWindow::from(SlidingWindow { size, sinks: 0 });
    let Some(default) = family.full_attention_interval() else { return Ok(Some(window)) };
    let interval = metadata.optional_size("attention.sliding_window_pattern")?.unwrap_or(default);
    if interval == 1 {
        return Ok(None); // no layer has a window
    }
    Ok(Some(LayerWindow {
        full_attention_interval: Some(interval).filter(|n| (2..=n_layer).contains(n)),
        local_rope_base: match position.rope_parameters() {
            Some(rope) => local_rope_base(metadata, rope)?,
            None => None,
        },
        ..window
    }))
}

/// θ of RoPE in the layers with a window, which do not scale it; `None` if the others, of `rope`,
/// have the same θ and do not scale it either.
fn local_rope_base(metadata: Metadata<'_>, rope: RopeParameters) -> Result<Option<f64>> {
    let Some(default) = metadata.family.local_rope_base() else { return Ok(None) };
    let base = metadata.optional_number("rope.freq_base_swa")?.unwrap_or(default);
    Ok((base != rope.base || rope.scaling.is_some()).then_some(base))
}
