//! `config.json` of OPT (Zhang et al., <https://arxiv.org/abs/2205.01068>).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::llama::{lm_head, square_attention};
use super::mlp::{self, activation};
use crate::config::{
    BlockLayout, LmHead, ModelConfig, NormKind, PositionEncoding, QkvProjections, TokenEmbedding,
};
use crate::json_fields::Fields;

/// Rows of OPT's table of positions that no token uses.
const POSITION_OFFSET: usize = 2;
/// ε of PyTorch's LayerNorm, which OPT's files do not name.
const LAYER_NORM_EPS: f64 = 1e-5;

pub(super) fn read(fields: Fields<'_>) -> Result<ModelConfig> {
    for (key, required) in [
        ("enable_bias", true),
        ("layer_norm_elementwise_affine", true),
        ("_remove_final_layer_norm", false),
    ] {
        let supported = fields.value(key).is_none_or(|value| *value == required);
        ensure!(supported, "`{key}` must be {required}");
    }
    let (n_embd, n_head) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    let pre_norm =
        fields.value("do_layer_norm_before").is_none() || fields.flag("do_layer_norm_before")?;
    let embedding = match fields.size_or("word_embed_proj_dim", n_embd)? {
        width if width == n_embd => TokenEmbedding::Plain,
        width => TokenEmbedding::Projected { width },
    };
    Ok(ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        n_layer: fields.size("num_hidden_layers")?,
        n_embd,
        context_len: fields.size_or("max_position_embeddings", 2048)?,
        embedding,
        norm: NormKind::Layer { eps: LAYER_NORM_EPS },
        block: if pre_norm { BlockLayout::PreNorm } else { BlockLayout::PostNorm },
        attention: square_attention(
            (n_embd, n_head),
            QkvProjections::Separate,
            PositionEncoding::Learned { offset: POSITION_OFFSET },
        )?,
        mlp: mlp::two_layer(fields, "activation_function", "relu", fields.size("ffn_dim")?)?,
        lm_head: lm_head(LmHead::Tied, fields)?,
        logit_softcap: None,
        init_std: fields.number_or("init_std", ModelConfig::GPT2_INIT_STD)?,
    })
}

pub(super) fn write(config: &ModelConfig) -> Value {
    json!({
        "max_position_embeddings": config.context_len,
        "num_hidden_layers": config.n_layer,
        "hidden_size": config.n_embd,
        "word_embed_proj_dim": config.embedding_width(),
        "num_attention_heads": config.attention.n_head,
        "ffn_dim": config.mlp.width(),
        "activation_function": activation(config.mlp),
        "do_layer_norm_before": config.block == BlockLayout::PreNorm,
        "init_std": config.init_std,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
        "pad_token_id": null,
        "tie_word_embeddings": config.lm_head == LmHead::Tied,
    })
}
