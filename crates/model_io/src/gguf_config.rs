//! Architecture of the model in a GGUF file, from its metadata and from the names of its tensors.

use anyhow::{Context, Result, bail, ensure};

use crate::config::{
    AttentionBias, AttentionConfig, AttentionLogits, BlockLayout, Llama3Scaling, LmHead, Mlp,
    ModelConfig, NormKind, PositionEncoding, QkNorm, QkvProjections, RopeParameters, RopeScaling,
    SlidingWindow, TokenEmbedding, YarnScaling,
};
use crate::config_json::unsupported_family;
use crate::gguf::Gguf;

/// Configuration of the model in `file`.
pub(crate) fn read(file: &Gguf) -> Result<ModelConfig> {
    let family = file.get_str("general.architecture")?;
    let supported = ["llama", "qwen2", "qwen3"];
    ensure!(supported.contains(&family), "architecture {}", unsupported_family(family, &supported));
    let key = |name: &str| format!("{family}.{name}");
    let size = |name: &str| file.get_usize(&key(name));
    let has = |tensor: &str| file.tensor_info(tensor).is_ok();
    let (n_embd, n_head) = (size("embedding_length")?, size("attention.head_count")?);
    let optional = |name: &str| file.get_optional(&key(name), Gguf::get_usize);
    let head_dim = optional("attention.key_length")?.unwrap_or(n_embd / n_head.max(1));
    let window = optional("attention.sliding_window")?.filter(|&size| size > 0);
    let window = window.map(|size| SlidingWindow { size, sinks: 0 }.into());
    let qk_norm = if has("blk.0.attn_q_norm.weight") { QkNorm::PerHead } else { QkNorm::None };
    let base = file.get_optional(&key("rope.freq_base"), Gguf::get_f64)?.unwrap_or(10_000.);
    let rotated = optional("rope.dimension_count")?.unwrap_or(head_dim);
    ensure!(
        rotated == head_dim,
        "RoPE on {rotated} of {head_dim} channels of a head is not supported"
    );
    let embeddings = file.tensor_info("token_embd.weight")?;
    let config = ModelConfig {
        vocab_size: *embeddings.dims.first().context("`token_embd.weight` is not a matrix")?,
        n_layer: size("block_count")?,
        n_embd,
        context_len: size("context_length")?,
        embedding: TokenEmbedding::Plain,
        norm: NormKind::Rms { eps: file.get_f64(&key("attention.layer_norm_rms_epsilon"))? },
        block: BlockLayout::PreNorm,
        attention: AttentionConfig {
            n_head,
            n_kv_head: optional("attention.head_count_kv")?.unwrap_or(n_head),
            head_dim,
            projections: QkvProjections::Separate,
            bias: match (has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias")) {
                (true, true) => AttentionBias::All,
                (true, false) => AttentionBias::Qkv,
                _ => AttentionBias::None,
            },
            position: PositionEncoding::Rope(RopeParameters {
                scaling: match llama3_scaling(file, base, head_dim)? {
                    Some(scaling) => Some(RopeScaling::Llama3(scaling)),
                    None => rope_scaling(file, family)?,
                },
                ..RopeParameters::new(base)
            }),
            window,
            logits: AttentionLogits { qk_norm, ..AttentionLogits::default() },
        },
        mlp: Mlp::SwiGlu { width: size("feed_forward_length")? },
        lm_head: if has("output.weight") { LmHead::Untied } else { LmHead::Tied },
        logit_softcap: None,
        init_std: ModelConfig::GPT2_INIT_STD,
    };
    config.validate()?;
    Ok(config)
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
