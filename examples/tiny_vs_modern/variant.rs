//! The models that are compared. Each differs from an earlier one in one component; "all three"
//! differs in three.

use anyhow::Result;
use candle_core::DType;
use experiment::program as command;
use model_io::ModelConfig;
use model_io::config::{Mlp, NormKind, PositionEncoding};
use tensor_core::ops::Gelu;
use tiny_gpt::GptConfig;

/// Config of a model to compare.
pub(crate) enum Variant {
    Tiny(GptConfig),
    Modern(Box<ModelConfig>),
}

impl Variant {
    /// KV cache size per token in f32, in bytes.
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

/// Names and configs of the models: part 2's; the same without attention biases, like all after it;
/// with each component of part 3 alone; with all three; with all three and an initialization
/// scaled to the width; with half the key heads (grouped-query attention).
pub(crate) fn variants(gpt2_config: &GptConfig) -> Result<Vec<(&'static str, Variant)>> {
    let (n_head, c) = (gpt2_config.block.n_head, gpt2_config.block.n_embd);
    let scaled_init =
        ModelConfig::byte_level(gpt2_config.context_len, gpt2_config.block.n_layer, n_head, c);
    // The same initialization as part 2's model, so that only the components differ.
    let modern = ModelConfig { init_std: ModelConfig::GPT2_INIT_STD, ..scaled_init };
    let mut gpt2 = modern;
    gpt2.norm = NormKind::Layer { eps: 1e-5 };
    gpt2.attention.position = PositionEncoding::Learned { offset: 0 };
    gpt2.mlp = Mlp::Gelu { width: 4 * c, form: Gelu::Tanh };
    let mut rope = gpt2;
    rope.attention.position = modern.attention.position;
    let mut grouped = modern;
    grouped.attention.n_kv_head = n_head.div_ceil(2);
    let mut changes = vec![
        ("no attention biases", gpt2),
        ("RMSNorm, no attention biases", ModelConfig { norm: modern.norm, ..gpt2 }),
        ("RoPE, no attention biases", rope),
        ("SwiGLU, no attention biases", ModelConfig { mlp: modern.mlp, ..gpt2 }),
        ("all three", modern),
        ("all three, init scaled to the width", scaled_init),
    ];
    if n_head % 2 == 0 {
        changes.push(("all three, half the key heads", grouped));
    }
    let mut all =
        vec![("part 2: LayerNorm, learned positions, GELU, biases", Variant::Tiny(*gpt2_config))];
    for (name, config) in changes {
        command::as_usage_error(config.validate())?;
        all.push((name, Variant::Modern(Box::new(config))));
    }
    Ok(all)
}
