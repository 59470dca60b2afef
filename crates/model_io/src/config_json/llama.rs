//! `config.json` of Llama and of the families with its keys. Missing keys get the defaults that
//! transformers has for the family.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::defaults::Defaults;
use super::family::Family;
use super::layer_types::{layer_interval, sliding_layers};
use super::mlp::{self, activation};
use super::position;
use crate::config::{
    AttentionBias, AttentionConfig, BlockLayout, LmHead, ModelConfig, NormKind, PositionEncoding,
    QkNorm, QkvProjections, SlidingWindow, TokenEmbedding,
};
use crate::json_fields::Fields;

/// Reads the `config.json` of a family that has Llama's keys.
pub(super) fn read(family: Family, fields: Fields<'_>) -> Result<ModelConfig> {
    let mlp_bias = matches!(family, Family::Llama | Family::SmolLm3) && fields.flag("mlp_bias")?;
    ensure!(!mlp_bias, "`mlp_bias` is not supported");
    let bidirectional = fields.flag("use_bidirectional_attention")?;
    ensure!(!bidirectional, "`use_bidirectional_attention` is not supported");
    let n_layer = fields.size("num_hidden_layers")?;
    let (n_embd, n_head) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    let defaults = family.defaults(n_embd, n_head);
    let context_len =
        fields.size_or("max_position_embeddings", defaults.max_position_embeddings)?;
    let eps = fields.number_or("rms_norm_eps", defaults.eps)?;
    let n_kv_head =
        fields.size_or_null("num_key_value_heads", Some(defaults.num_key_value_heads))?;
    let no_rope_interval = no_rope_interval(family, &defaults, n_layer, fields)?;
    let position = position::read(family, &defaults, context_len, fields)?;
    let rotary_fraction = match position {
        PositionEncoding::Rope { .. } => position::rotary_fraction(family, fields)?,
        PositionEncoding::Learned { .. } => 1.,
    };
    Ok(ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        n_layer,
        n_embd,
        context_len,
        embedding: embedding(family, n_embd, fields)?,
        norm: norm(family, eps, fields)?,
        block: block(family, fields)?,
        attention: AttentionConfig {
            n_head,
            n_kv_head: n_kv_head.unwrap_or(n_head),
            head_dim: fields.size_or("head_dim", defaults.head_dim)?,
            projections: projections(family, fields)?,
            bias: attention_bias(family, fields)?,
            qk_norm: match family {
                Family::Qwen3 | Family::Qwen3Moe | Family::Gemma3 => QkNorm::PerHead,
                Family::Custom if fields.flag("qk_norm")? => QkNorm::PerHead,
                _ => QkNorm::None,
            },
            position,
            rotary_fraction,
            no_rope_interval,
            window: window(family, &defaults, n_layer, no_rope_interval, fields)?,
            full_attention_interval: None,
            local_rope_base: None,
            query_pre_attn_scalar: None,
            logit_softcap: None,
        },
        mlp: mlp::read(family, fields)?,
        lm_head: lm_head(defaults.lm_head, fields)?,
        logit_softcap: None,
        init_std: fields.number_or("initializer_range", ModelConfig::GPT2_INIT_STD)?,
    })
}

fn norm(family: Family, eps: f64, fields: Fields<'_>) -> Result<NormKind> {
    Ok(match (family, fields.string("norm")?) {
        (Family::Gemma | Family::Gemma2 | Family::Gemma3, _)
        | (Family::Custom, Some("zero_centered_rms")) => NormKind::ZeroCenteredRms { eps },
        (Family::Custom, Some("layer")) => NormKind::Layer { eps },
        (Family::Custom, Some(other)) if other != "rms" => bail!("`norm` is `{other}`"),
        _ => NormKind::Rms { eps },
    })
}

fn block(family: Family, fields: Fields<'_>) -> Result<BlockLayout> {
    Ok(match (family, fields.string("block")?) {
        (Family::Gemma2 | Family::Gemma3, _) | (Family::Custom, Some("sandwich_norm")) => {
            BlockLayout::SandwichNorm
        }
        (Family::Custom, Some("post_norm")) => BlockLayout::PostNorm,
        (Family::Custom, Some("parallel")) => BlockLayout::Parallel,
        (Family::Custom, Some(other)) if other != "pre_norm" => bail!("`block` is `{other}`"),
        _ => BlockLayout::PreNorm,
    })
}

fn projections(family: Family, fields: Fields<'_>) -> Result<QkvProjections> {
    Ok(match (family, fields.string("qkv_projections")?) {
        (Family::Phi3, _) | (Family::Custom, Some("fused")) => QkvProjections::Fused,
        (Family::Custom, Some("fused_per_head")) => QkvProjections::FusedPerHead,
        (Family::Custom, Some(other)) if other != "separate" => {
            bail!("`qkv_projections` is `{other}`")
        }
        _ => QkvProjections::Separate,
    })
}

/// Keys of `config` in a file of these families.
pub(super) fn write(config: &ModelConfig) -> Value {
    let attention = config.attention;
    let mut json = json!({
        "max_position_embeddings": config.context_len,
        "num_hidden_layers": config.n_layer,
        "hidden_size": config.n_embd,
        "num_attention_heads": attention.n_head,
        "num_key_value_heads": attention.n_kv_head,
        "head_dim": attention.head_dim,
        "intermediate_size": config.mlp.width(),
        "hidden_act": activation(config.mlp),
        "rms_norm_eps": config.norm.eps(),
        "tie_word_embeddings": config.lm_head == LmHead::Tied,
        "sliding_window": attention.window.map(|window| window.size),
        "attention_bias": attention.bias == AttentionBias::All,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    });
    position::write(&mut json, config);
    mlp::write_experts(&mut json, config.mlp);
    if attention.no_rope_interval.is_some() {
        let has_rope = (0..config.n_layer).map(|layer| u8::from(attention.has_rope(layer)));
        json["no_rope_layers"] = has_rope.collect();
        json["no_rope_layer_interval"] = json!(attention.no_rope_interval);
    }
    json
}

fn embedding(family: Family, n_embd: usize, fields: Fields<'_>) -> Result<TokenEmbedding> {
    Ok(match family {
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => TokenEmbedding::Scaled,
        Family::Custom if fields.flag("embedding_scale")? => TokenEmbedding::Scaled,
        Family::Custom => match fields.size_or("word_embed_proj_dim", n_embd)? {
            width if width == n_embd => TokenEmbedding::Plain,
            width => TokenEmbedding::Projected { width },
        },
        _ => TokenEmbedding::Plain,
    })
}

/// Attention without a window whose heads divide the channels, as in GPT-2.
pub(super) fn square_attention(
    (n_embd, n_head): (usize, usize),
    projections: QkvProjections,
    position: PositionEncoding,
) -> Result<AttentionConfig> {
    let head_dim = n_embd.checked_div(n_head).filter(|head_dim| head_dim * n_head == n_embd);
    let head_dim =
        head_dim.with_context(|| format!("{n_head} heads do not divide {n_embd} channels"))?;
    Ok(AttentionConfig {
        n_head,
        n_kv_head: n_head,
        head_dim,
        projections,
        bias: AttentionBias::All,
        qk_norm: QkNorm::None,
        position,
        rotary_fraction: 1.,
        no_rope_interval: None,
        window: None,
        full_attention_interval: None,
        local_rope_base: None,
        query_pre_attn_scalar: None,
        logit_softcap: None,
    })
}

pub(super) fn lm_head(default: LmHead, fields: Fields<'_>) -> Result<LmHead> {
    Ok(match fields.value("tie_word_embeddings") {
        None => default,
        Some(_) if fields.flag("tie_word_embeddings")? => LmHead::Tied,
        Some(_) => LmHead::Untied,
    })
}

fn attention_bias(family: Family, fields: Fields<'_>) -> Result<AttentionBias> {
    Ok(match family {
        Family::Mistral | Family::Mixtral | Family::Phi3 => AttentionBias::None,
        Family::Qwen2 => AttentionBias::Qkv,
        _ if fields.flag("attention_bias")? => AttentionBias::All,
        Family::Custom if fields.flag("qkv_bias")? => AttentionBias::Qkv,
        _ => AttentionBias::None,
    })
}

/// Interval of the layers without RoPE, which must be every n-th; `None` if there are none.
fn no_rope_interval(
    family: Family,
    defaults: &Defaults,
    n_layer: usize,
    fields: Fields<'_>,
) -> Result<Option<usize>> {
    if !matches!(family, Family::SmolLm3 | Family::Custom) {
        return Ok(None);
    }
    let Some(has_rope) = fields.value("no_rope_layers") else {
        let interval = fields.size_or_null("no_rope_layer_interval", defaults.no_rope_interval)?;
        return Ok(interval.filter(|&interval| interval <= n_layer));
    };
    let has_rope: Vec<u8> = serde_json::from_value(has_rope.clone())
        .context("`no_rope_layers` must be a list of 1 (with RoPE) and 0 (without)")?;
    let is_without: Vec<bool> = has_rope.iter().map(|&has_rope| has_rope == 0).collect();
    let expected =
        "`no_rope_layers` must have one number per layer, which is 0 for every n-th layer";
    layer_interval(&is_without, n_layer, expected)
}

/// Sliding window, which must be the same in all layers. Llama never has one, as in transformers;
/// SmolLM3 has it in the layers without RoPE. Those of Gemma 2 and 3 are read later.
fn window(
    family: Family,
    defaults: &Defaults,
    n_layer: usize,
    no_rope_interval: Option<usize>,
    fields: Fields<'_>,
) -> Result<Option<SlidingWindow>> {
    let size = match family {
        Family::Llama | Family::Gemma | Family::Gemma2 | Family::Gemma3 => return Ok(None),
        Family::SmolLm3 if !fields.flag("use_sliding_window")? => return Ok(None),
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe
            if !fields.flag("use_sliding_window")? =>
        {
            None
        }
        _ => fields.size_or_null("sliding_window", defaults.sliding_window)?,
    };
    let first = fields.size_or("max_window_layers", defaults.max_window_layers)?;
    let sliding = match (fields.value("layer_types"), family, size) {
        (Some(kinds), Family::Mistral | Family::Qwen2 | Family::Qwen3 | Family::SmolLm3, _) => {
            sliding_layers(kinds, n_layer)?.into_iter().filter(|&is_sliding| is_sliding).count()
        }
        (_, _, None) => 0,
        (_, Family::SmolLm3, _) => no_rope_interval.map_or(0, |n| n_layer / n.max(1)),
        (_, Family::Qwen2 | Family::Qwen3, _) => n_layer.saturating_sub(first),
        _ => n_layer,
    };
    if sliding == 0 {
        return Ok(None);
    }
    ensure!(
        sliding == n_layer,
        "only {sliding} of {n_layer} layers have a window (see `layer_types` and \
         `max_window_layers`): all layers or no layer must have one"
    );
    let size = size.context("`layer_types` has sliding layers, but `sliding_window` is not set")?;
    Ok(Some(SlidingWindow { size, sinks: fields.size_or("attention_sinks", 0)? }))
}
