//! `config.json` of GPT-NeoX and Pythia (Black et al., <https://arxiv.org/abs/2204.06745>).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::family::Family;
use super::llama::{lm_head, square_attention};
use super::mlp::{self, activation};
use super::position;
use crate::config::{BlockLayout, LmHead, ModelConfig, NormKind, QkvProjections, TokenEmbedding};
use crate::json_fields::Fields;

pub(super) fn read(fields: Fields<'_>) -> Result<ModelConfig> {
    let biased = fields.value("attention_bias").is_none_or(|value| *value == true);
    ensure!(biased, "`attention_bias` must be true");
    let (n_embd, n_head) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    let defaults = Family::GptNeoX.defaults(n_embd, n_head);
    let context_len =
        fields.size_or("max_position_embeddings", defaults.max_position_embeddings)?;
    let parallel =
        fields.value("use_parallel_residual").is_none() || fields.flag("use_parallel_residual")?;
    let n_layer = fields.size("num_hidden_layers")?;
    let position = position::read(Family::GptNeoX, &defaults, [context_len, n_layer], fields)?;
    Ok(ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        n_layer,
        n_embd,
        context_len,
        embedding: TokenEmbedding::Plain,
        norm: NormKind::Layer { eps: fields.number_or("layer_norm_eps", 1e-5)? },
        block: if parallel { BlockLayout::Parallel } else { BlockLayout::PreNorm },
        attention: square_attention((n_embd, n_head), QkvProjections::FusedPerHead, position)?,
        mlp: mlp::two_layer(fields, "hidden_act", "gelu", fields.size("intermediate_size")?)?,
        lm_head: lm_head(LmHead::Untied, fields)?,
        logit_softcap: None,
        init_std: fields.number_or("initializer_range", ModelConfig::GPT2_INIT_STD)?,
    })
}

pub(super) fn write(config: &ModelConfig) -> Value {
    let mut json = json!({
        "max_position_embeddings": config.context_len,
        "num_hidden_layers": config.n_layer,
        "hidden_size": config.n_embd,
        "num_attention_heads": config.attention.n_head,
        "intermediate_size": config.mlp.width(),
        "hidden_act": activation(config.mlp),
        "layer_norm_eps": config.norm.eps(),
        "use_parallel_residual": config.block == BlockLayout::Parallel,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.lm_head == LmHead::Tied,
    });
    position::write(&mut json, config);
    let rope = config.attention.position.rope_parameters();
    let fraction = rope.map_or(1., |rope| rope.rotary_fraction);
    json["rotary_pct"] = json!(fraction); // read by transformers 4
    json["rotary_emb_base"] = json["rope_theta"].clone();
    json
}
