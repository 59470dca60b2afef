//! `config.json` of GPT-2 (Radford et al. 2019), whose keys have other names than Llama's.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::llama::{lm_head, square_attention};
use super::mlp::{self, activation};
use crate::config::{
    BlockLayout, LmHead, ModelConfig, NormKind, PositionEncoding, QkvProjections, TokenEmbedding,
};
use crate::json_fields::Fields;

pub(super) fn read(fields: Fields<'_>) -> Result<ModelConfig> {
    for (key, required) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
    ] {
        let supported = fields.value(key).is_none_or(|value| *value == required);
        ensure!(supported, "`{key}` must be {required}");
    }
    let (n_embd, n_head) = (fields.size("n_embd")?, fields.size("n_head")?);
    let width = fields.size_or("n_inner", n_embd.saturating_mul(4))?;
    Ok(ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        n_layer: fields.size("n_layer")?,
        n_embd,
        context_len: fields.size_or("n_positions", 1024)?,
        embedding: TokenEmbedding::Plain,
        norm: NormKind::Layer { eps: fields.number_or("layer_norm_epsilon", 1e-5)? },
        block: BlockLayout::PreNorm,
        attention: square_attention(
            (n_embd, n_head),
            QkvProjections::Fused,
            PositionEncoding::Learned { offset: 0 },
        )?,
        mlp: mlp::two_layer(fields, "activation_function", "gelu_new", width)?,
        lm_head: lm_head(LmHead::Tied, fields)?,
        logit_softcap: None,
        init_std: fields.number_or("initializer_range", ModelConfig::GPT2_INIT_STD)?,
    })
}

pub(super) fn write(config: &ModelConfig) -> Value {
    json!({
        "n_positions": config.context_len,
        "n_layer": config.n_layer,
        "n_embd": config.n_embd,
        "n_head": config.attention.n_head,
        "n_inner": config.mlp.width(),
        "activation_function": activation(config.mlp),
        "layer_norm_epsilon": config.norm.eps(),
        "initializer_range": config.init_std,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": config.lm_head == LmHead::Tied,
    })
}
