//! Architecture of the model in a GGUF file, from its metadata, from the names of its tensors, and
//! from what llama.cpp knows of its family.

use anyhow::{Context, Result, bail, ensure};
use tensor_core::ops::Gelu;

use crate::config::{
    AttentionBias, AttentionConfig, AttentionLogits, BlockLayout, LayerWindow, Llama3Scaling,
    LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm, QkvProjections, RopeParameters,
    RopeScaling, SlidingWindow, TokenEmbedding, YarnScaling,
};
use crate::gguf::Gguf;
use crate::gguf_family::GgufFamily;

/// Configuration of the model in `file`.
pub(crate) fn read(file: &Gguf) -> Result<ModelConfig> {
    let family = GgufFamily::of(file)?;
    let metadata = Metadata { file, family };
    let eps = metadata.number("attention.layer_norm_rms_epsilon")?;
    let width = metadata.size("feed_forward_length")?;
    let embeddings = file.tensor_info("token_embd.weight")?;
    let has_lm_head = file.tensor_info("output.weight").is_ok();
    let (embedding, norm, mlp) = match family.is_gemma() {
        true => (
            TokenEmbedding::Scaled,
            NormKind::ZeroCenteredRms { eps },
            Mlp::GeGlu { width, form: Gelu::Tanh },
        ),
        false => (TokenEmbedding::Plain, NormKind::Rms { eps }, Mlp::SwiGlu { width }),
    };
    let config = ModelConfig {
        vocab_size: *embeddings.dims.first().context("`token_embd.weight` is not a matrix")?,
        n_layer: metadata.size("block_count")?,
        n_embd: metadata.size("embedding_length")?,
        context_len: metadata.size("context_length")?,
        embedding,
        norm,
        block: match family {
            GgufFamily::Gemma2 | GgufFamily::Gemma3 => BlockLayout::SandwichNorm,
            _ => BlockLayout::PreNorm,
        },
        attention: attention(metadata)?,
        mlp,
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

/// Metadata of a file under the keys of its family, such as `llama.block_count`.
#[derive(Clone, Copy)]
struct Metadata<'a> {
    file: &'a Gguf,
    family: GgufFamily,
}

impl Metadata<'_> {
    fn key(self, name: &str) -> String {
        format!("{}.{name}", self.family.name())
    }

    fn size(self, name: &str) -> Result<usize> {
        self.file.get_usize(&self.key(name))
    }

    fn optional_size(self, name: &str) -> Result<Option<usize>> {
        self.file.get_optional(&self.key(name), Gguf::get_usize)
    }

    fn number(self, name: &str) -> Result<f64> {
        self.file.get_f64(&self.key(name))
    }

    fn optional_number(self, name: &str) -> Result<Option<f64>> {
        self.file.get_optional(&self.key(name), Gguf::get_f64)
    }
}

/// Attention heads, biases, position encoding and window.
fn attention(metadata: Metadata<'_>) -> Result<AttentionConfig> {
    let Metadata { file, family } = metadata;
    let has = |tensor: &str| file.tensor_info(tensor).is_ok();
    let (n_layer, n_embd) = (metadata.size("block_count")?, metadata.size("embedding_length")?);
    let n_head = metadata.size("attention.head_count")?;
    let head_dim =
        metadata.optional_size("attention.key_length")?.unwrap_or(n_embd / n_head.max(1));
    let rotated = metadata.optional_size("rope.dimension_count")?.unwrap_or(head_dim);
    ensure!(
        rotated == head_dim,
        "RoPE on {rotated} of {head_dim} channels of a head is not supported"
    );
    let base = metadata.optional_number("rope.freq_base")?.unwrap_or(10_000.);
    let scaling = match llama3_scaling(file, base, head_dim)? {
        Some(scaling) => Some(RopeScaling::Llama3(scaling)),
        None => rope_scaling(file, family.name())?,
    };
    let rope = RopeParameters {
        scaling,
        no_rope_interval: family.no_rope_interval().filter(|&interval| interval <= n_layer),
        ..RopeParameters::new(base)
    };
    let qk_norm = if has("blk.0.attn_q_norm.weight") { QkNorm::PerHead } else { QkNorm::None };
    let query_pre_attn_scalar = family.query_pre_attn_scalar(n_layer, n_embd, n_head);
    Ok(AttentionConfig {
        n_head,
        n_kv_head: metadata.optional_size("attention.head_count_kv")?.unwrap_or(n_head),
        head_dim,
        projections: QkvProjections::Separate,
        bias: match (has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias")) {
            (true, true) => AttentionBias::All,
            (true, false) => AttentionBias::Qkv,
            _ => AttentionBias::None,
        },
        position: PositionEncoding::Rope(rope),
        window: window(metadata, n_layer, rope)?,
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

/// The sliding window, which layers have it, and their θ where `rope` is that of the others.
fn window(
    metadata: Metadata<'_>,
    n_layer: usize,
    rope: RopeParameters,
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
        local_rope_base: local_rope_base(metadata, rope)?,
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

/// RoPE scaling of the metadata, of type `linear` (llama.cpp's default, in older files with the
/// factor `rope.scale_linear`) or `yarn`.
pub(crate) fn rope_scaling(file: &Gguf, family: &str) -> Result<Option<RopeScaling>> {
    let key = |name: &str| format!("{family}.rope.{name}");
    let number = |name: &str| file.get_optional(&key(name), Gguf::get_f64);
    let factor = number("scaling.factor")?.or(number("scale_linear")?).unwrap_or(1.);
    let kind = file.get_optional(&key("scaling.type"), Gguf::get_str)?.unwrap_or("linear");
    match kind {
        "none" => Ok(None),
        "linear" => Ok((factor != 1.).then_some(RopeScaling::Linear { factor })),
        "yarn" => {
            for name in ["attn_factor", "yarn_attn_factor", "yarn_ext_factor"] {
                let value = number(&format!("scaling.{name}"))?.unwrap_or(1.);
                ensure!(value == 1., "RoPE scaling with `{name}` = {value} is not supported");
            }
            let multiplier = number("scaling.yarn_log_multiplier")?.unwrap_or(0.1);
            ensure!(
                multiplier as f32 == 0.1,
                "RoPE scaling with `yarn_log_multiplier` = {multiplier} is not supported"
            );
            let original = key("scaling.original_context_length");
            Ok(Some(RopeScaling::Yarn(YarnScaling {
                factor,
                attention_factor: None,
                beta_fast: number("scaling.yarn_beta_fast")?.unwrap_or(32.),
                beta_slow: number("scaling.yarn_beta_slow")?.unwrap_or(1.),
                original_context_len: file.get_usize(&original)?,
            })))
        }
        _ => bail!("RoPE scaling `{kind}` is not supported"),
    }
}

/// Llama 3's RoPE scaling. The file stores the divisor of each pair's frequency instead of the four
/// numbers that they are computed from, so the numbers are assumed and checked.
fn llama3_scaling(file: &Gguf, base: f64, head_dim: usize) -> Result<Option<Llama3Scaling>> {
    if file.tensor_info("rope_freqs.weight").is_err() {
        return Ok(None);
    }
    let factors = file.read_floats("rope_freqs.weight")?;
    let factor = f64::from(factors.iter().copied().fold(1., f32::max));
    let scaling = Llama3Scaling {
        factor,
        low_freq_factor: 1.,
        high_freq_factor: 4.,
        original_context_len: 8192,
    };
    for (i, &divisor) in factors.iter().enumerate() {
        let frequency = base.powf(-2. * i as f64 / head_dim as f64);
        let expected = frequency / scaling.scale_frequency(frequency);
        ensure!(
            factors.len() == head_dim / 2 && (f64::from(divisor) / expected - 1.).abs() < 1e-3,
            "`rope_freqs.weight` does not match Llama 3's RoPE scaling, the only supported one"
        );
    }
    Ok(Some(scaling))
}
