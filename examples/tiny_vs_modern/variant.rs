//! The models that are compared. Each differs from one before it in one thing; "all three" in three.

use anyhow::Result;
use candle_core::DType;
use modern::ModelConfig;
use modern::config::{Mlp, NormKind, PositionEncoding};
use tensor_core::ops::Gelu;
use tiny_gpt::{GptConfig, command};

/// A model to compare.
pub(crate) enum Variant {
    Tiny(GptConfig),
    Modern(ModelConfig),
}

impl Variant {
    /// Bytes of keys and values that a token leaves in a cache of f32.
    pub(crate) fn cache_bytes_per_token(&self) -> usize {
        let (n_layer, width) = match self {
            Self::Tiny(config) => (config.block.n_layer, config.block.n_embd),
            Self::Modern(config) => {
                (config.n_layer, config.attention.n_kv_head * config.attention.head_dim)
            }
        };
        2 * n_layer * width * DType::F32.size_in_bytes()
    }
}

/// Part 2's model; without its attention biases, which no later one has; with each part of part 3 alone, with all,
/// those from larger fresh weights, and with half the key heads.
pub(crate) fn variants(tiny: &GptConfig) -> Result<Vec<(&'static str, Variant)>> {
    let (n_head, c) = (tiny.block.n_head, tiny.block.n_embd);
    let wider = ModelConfig::byte_level(tiny.context_len, tiny.block.n_layer, n_head, c);
    let modern = ModelConfig { init_std: ModelConfig::GPT2_INIT_STD, ..wider }; // as part 2's
    let mut old = modern;
    old.norm = NormKind::Layer { eps: 1e-5 };
    old.attention.position = PositionEncoding::Learned;
    old.mlp = Mlp::Gelu { width: 4 * c, form: Gelu::Tanh };
    let mut rope = old;
    rope.attention.position = modern.attention.position;
    let mut grouped = modern;
    grouped.attention.n_kv_head = n_head.div_ceil(2);
    let mut changed = vec![
        ("no attention biases", old),
        ("RMSNorm, no attention biases", ModelConfig { norm: modern.norm, ..old }),
        ("RoPE, no attention biases", rope),
        ("SwiGLU, no attention biases", ModelConfig { mlp: modern.mlp, ..old }),
        ("all three", modern),
        ("all three, fresh weights as the width asks", wider),
    ];
    if n_head % 2 == 0 {
        changed.push(("all three, half the key heads", grouped));
    }
    let mut all =
        vec![("part 2: LayerNorm, learned positions, GELU, biases", Variant::Tiny(*tiny))];
    for (name, config) in changed {
        command::as_usage_error(config.validate())?;
        all.push((name, Variant::Modern(config)));
    }
    Ok(all)
}
