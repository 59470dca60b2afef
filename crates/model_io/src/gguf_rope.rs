//! RoPE in a GGUF file: its base, the channels and layers that it leaves out, and its scaling, in
//! the metadata or in tensors with the divisors of the frequencies.

use anyhow::{Context, Result, bail, ensure};

use crate::config::{
    Llama3Scaling, LongScaling, PairFactors, RopeParameters, RopeScaling, YarnScaling,
};
use crate::gguf::Gguf;
use crate::gguf_family::ROPE_FACTORS;
use crate::gguf_family_metadata::Metadata;

/// Parameters of RoPE in the layers without a window, for heads of `head_dim` channels.
pub(crate) fn read(metadata: Metadata<'_>, head_dim: usize) -> Result<RopeParameters> {
    let Metadata { file, family } = metadata;
    let base = metadata.optional_number("rope.freq_base")?.unwrap_or(10_000.);
    let rotated = metadata.optional_size("rope.dimension_count")?.unwrap_or(head_dim);
    let scaling = match (llama3_scaling(file, base, head_dim)?, long_scaling(metadata)?) {
        (Some(scaling), _) => Some(RopeScaling::Llama3(scaling)),
        (None, Some(scaling)) => Some(RopeScaling::Long(scaling)),
        (None, None) => rope_scaling(file, family.name())?,
    };
    let n_layer = metadata.size("block_count")?;
    let rope = RopeParameters {
        scaling,
        rotary_fraction: rotated as f64 / head_dim as f64,
        no_rope_interval: family.no_rope_interval().filter(|&interval| interval <= n_layer),
        ..RopeParameters::new(base)
    };
    let supported =
        rotated == head_dim || (family.has_partial_rope() && rope.rotary_dim(head_dim) == rotated);
    ensure!(supported, "RoPE on {rotated} of {head_dim} channels of a head is not supported");
    Ok(rope)
}

/// LongRoPE, of Phi-3. Longer texts than those of training have other divisors.
fn long_scaling(metadata: Metadata<'_>) -> Result<Option<LongScaling>> {
    let Metadata { file, family } = metadata;
    let exists = ROPE_FACTORS.map(|name| file.tensor_info(name).is_ok());
    if exists == [false; 2] || ROPE_FACTORS.iter().any(|name| !family.has_rope_factors(name)) {
        return Ok(None);
    }
    let [short_factor, long_factor] = ROPE_FACTORS.map(|name| pair_factors(file, name));
    let original_context_len = metadata.size("rope.scaling.original_context_length")?;
    let context_len = metadata.size("context_length")?;
    let factor = context_len as f64 / original_context_len as f64;
    let default = LongScaling::default_attention_factor(factor, original_context_len);
    Ok(Some(LongScaling {
        short_factor: short_factor?,
        long_factor: long_factor?,
        // The converter rounds the default to f32.
        attention_factor: metadata
            .optional_number("rope.scaling.attn_factor")?
            .filter(|&factor| factor as f32 != default as f32)
            .unwrap_or(default),
        original_context_len,
    }))
}

/// Divisors of the frequencies, in the tensor `name`.
fn pair_factors(file: &Gguf, name: &str) -> Result<PairFactors> {
    let factors: Vec<f64> = file.read_floats(name)?.into_iter().map(f64::from).collect();
    PairFactors::new(&factors).with_context(|| format!("`{name}` has {} numbers", factors.len()))
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
