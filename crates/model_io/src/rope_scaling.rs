//! Context extension of RoPE: the scaled frequencies and the attention factor, as in transformers'
//! `modeling_rope_utils`. The unscaled frequency of pair i of D/2 is base^(−2i/D).

use std::f64::consts::TAU;

use candle_core::{Result, bail};

/// Context-extension scaling of the frequencies.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a configuration is Copy, and a model has one")]
pub enum RopeScaling {
    /// Position interpolation (<https://arxiv.org/abs/2306.15595>): all frequencies are divided by
    /// `factor`.
    Linear {
        /// Divisor of the frequencies.
        factor: f64,
    },
    /// Dynamic NTK scaling: texts up to the original context keep their frequencies; for longer
    /// ones the base grows with the length.
    Dynamic {
        /// Growth of the base with the length of the text.
        factor: f64,
        /// Longest text with unscaled frequencies, the model's context length.
        original_context_len: usize,
    },
    /// Linear for low frequencies only, with larger attention logits.
    Yarn(YarnScaling),
    /// Linear for low frequencies only.
    Llama3(Llama3Scaling),
    /// A divisor for each frequency, and others for long texts: Phi-3.
    Long(LongScaling),
}

/// YaRN (<https://arxiv.org/abs/2309.00071>): low frequencies are divided by `factor`, high ones
/// stay, those in between are interpolated by the index of the pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct YarnScaling {
    /// Divisor s of the low frequencies.
    pub factor: f64,
    /// Factor of queries and keys after the rotation; `None`: 0.1 ln s + 1, the paper's.
    pub attention_factor: Option<f64>,
    /// Turns within the original context above which a frequency counts as high.
    pub beta_fast: f64,
    /// Turns within the original context below which a frequency counts as low.
    pub beta_slow: f64,
    /// Context length before the extension.
    pub original_context_len: usize,
}

/// Llama 3's context extension: low RoPE frequencies are divided by `factor`, high ones stay, those
/// in between are interpolated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Divisor of the low frequencies.
    pub factor: f64,
    /// Turns within the original context below which a frequency counts as low.
    pub low_freq_factor: f64,
    /// Turns within the original context above which a frequency counts as high.
    pub high_freq_factor: f64,
    /// Context length before the extension.
    pub original_context_len: usize,
}

/// LongRoPE (<https://arxiv.org/abs/2402.13753>): the frequencies are divided by numbers that were
/// searched for, one set for texts up to the original context, one for longer texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LongScaling {
    /// Divisors for texts up to the original context.
    pub short_factor: PairFactors,
    /// Divisors for longer texts.
    pub long_factor: PairFactors,
    /// Factor of queries and keys after the rotation, √(1 + ln s / ln L) unless the file gives
    /// another, for a context s times as long as the original one, L.
    pub attention_factor: f64,
    /// Context length before the extension.
    pub original_context_len: usize,
}

/// Number for each rotated pair of a head, of which there are at most [`PairFactors::MAX_LEN`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairFactors {
    len: usize,
    /// Single-precision numbers, as in transformers.
    factors: [f32; Self::MAX_LEN],
}

impl PairFactors {
    /// Pairs of a head of 128 channels.
    pub const MAX_LEN: usize = 64;

    /// The numbers `factors`; `None` if they are too many.
    pub fn new(factors: &[f64]) -> Option<Self> {
        let mut pairs = Self { len: factors.len(), factors: [1.; Self::MAX_LEN] };
        let used = pairs.factors.get_mut(..factors.len())?;
        used.iter_mut().zip(factors).for_each(|(pair, factor)| *pair = *factor as f32);
        Some(pairs)
    }

    /// Number of each pair.
    pub fn as_slice(&self) -> &[f32] {
        &self.factors[..self.len]
    }
}

impl LongScaling {
    /// √(1 + ln s / ln L) for a context `factor` = s times as long as the `original_context_len`.
    pub fn default_attention_factor(factor: f64, original_context_len: usize) -> f64 {
        if factor <= 1. {
            return 1.;
        }
        (1. + factor.ln() / (original_context_len as f64).ln()).sqrt()
    }
}

impl RopeScaling {
    /// Frequencies (D/2), in radians per position, of a text of `text_len` tokens, from the
    /// unscaled `inv_freq: (D/2)` of `base`.
    pub fn scale(self, inv_freq: &[f64], base: f64, text_len: usize) -> Vec<f64> {
        let pairs = inv_freq.iter().enumerate();
        match self {
            Self::Linear { factor } => inv_freq.iter().map(|f| f / factor).collect(),
            Self::Dynamic { factor, original_context_len } => {
                let length = text_len as f64 / original_context_len as f64;
                let stretch = factor * length.max(1.) - (factor - 1.);
                // The base grows by stretch^(D / (D − 2)).
                let n = inv_freq.len() as f64 - 1.;
                pairs.map(|(i, f)| f * stretch.powf(-(i as f64) / n)).collect()
            }
            Self::Yarn(yarn) => {
                let [low, high] = yarn.ramp(base, inv_freq.len() as f64);
                let unscaled = |i: usize| 1. - ((i as f64 - low) / (high - low)).clamp(0., 1.);
                pairs.map(|(i, f)| interpolate(*f, yarn.factor, unscaled(i))).collect()
            }
            Self::Llama3(llama3) => inv_freq.iter().map(|f| llama3.scale_frequency(*f)).collect(),
            Self::Long(long) => {
                let is_long = text_len > long.original_context_len;
                let factors = if is_long { long.long_factor } else { long.short_factor };
                inv_freq.iter().zip(factors.as_slice()).map(|(f, by)| f / f64::from(*by)).collect()
            }
        }
    }

    /// Factor of queries and keys after the rotation.
    pub fn attention_factor(self) -> f64 {
        match self {
            Self::Yarn(yarn) => {
                yarn.attention_factor.unwrap_or_else(|| yarn_attention_factor(yarn.factor, 1.))
            }
            Self::Long(long) => long.attention_factor,
            _ => 1.,
        }
    }

    /// Checks that the numbers are valid for `head_dim` channels and `base`.
    pub(crate) fn validate(self, head_dim: usize, base: f64) -> Result<()> {
        let factor = match self {
            Self::Linear { factor }
            | Self::Dynamic { factor, .. }
            | Self::Yarn(YarnScaling { factor, .. })
            | Self::Llama3(Llama3Scaling { factor, .. }) => factor,
            Self::Long(long) => long.attention_factor,
        };
        let mut numbers = vec![("scaling factor", factor)];
        match self {
            Self::Dynamic { factor, .. } if head_dim <= 2 || factor < 1. => {
                bail!(
                    "dynamic RoPE scaling by {factor} of heads of {head_dim}: the factor must be \
                     at least 1 and the heads larger than 2"
                )
            }
            Self::Yarn(YarnScaling { attention_factor, beta_fast, beta_slow, .. }) => {
                numbers.extend([("`beta_fast`", beta_fast), ("`beta_slow`", beta_slow)]);
                numbers.extend(attention_factor.map(|factor| ("`attention_factor`", factor)));
                if base <= 1. {
                    bail!("YaRN needs a RoPE base above 1, got {base}");
                }
            }
            Self::Llama3(Llama3Scaling {
                low_freq_factor: low, high_freq_factor: high, ..
            }) if low >= high => {
                bail!(
                    "RoPE's `low_freq_factor` is {low}: it must be below `high_freq_factor`, {high}"
                )
            }
            Self::Long(LongScaling { short_factor, long_factor, .. }) => {
                for factors in [short_factor, long_factor] {
                    let factors = factors.as_slice();
                    if factors.len() != head_dim / 2 {
                        bail!(
                            "LongRoPE has {} factors for {} pairs of channels",
                            factors.len(),
                            head_dim / 2
                        );
                    }
                    let factors = factors.iter().map(|&factor| f64::from(factor));
                    numbers.extend(factors.map(|factor| ("factor of LongRoPE", factor)));
                }
            }
            _ => {}
        }
        for (name, number) in numbers {
            if !(number > 0. && number.is_finite()) {
                bail!("RoPE's {name} must be above 0, got {number}");
            }
        }
        if let Self::Yarn(YarnScaling { original_context_len: 0, .. })
        | Self::Long(LongScaling { original_context_len: 0, .. })
        | Self::Llama3(Llama3Scaling { original_context_len: 0, .. }) = self
        {
            bail!("`original_max_position_embeddings` of the RoPE scaling is 0");
        }
        Ok(())
    }
}

/// YaRN's 0.1 m ln s + 1 for the scaling factor s = `factor` and m = `mscale`.
pub(crate) fn yarn_attention_factor(factor: f64, mscale: f64) -> f64 {
    if factor <= 1. { 1. } else { 0.1 * mscale * factor.ln() + 1. }
}

/// Mean of `inv_freq`, with weight `unscaled`, and `inv_freq / factor`.
fn interpolate(inv_freq: f64, factor: f64, unscaled: f64) -> f64 {
    inv_freq * (unscaled + (1. - unscaled) / factor)
}

impl YarnScaling {
    /// Pairs, of `n_pair`, between which the frequencies go from unscaled to scaled.
    fn ramp(self, base: f64, n_pair: f64) -> [f64; 2] {
        let pair_with_turns = |turns: f64| {
            n_pair * (self.original_context_len as f64 / (turns * TAU)).ln() / base.ln()
        };
        let low = pair_with_turns(self.beta_fast).floor().max(0.);
        let high = pair_with_turns(self.beta_slow).ceil().min(2. * n_pair - 1.);
        [low, if high == low { high + 0.001 } else { high }] // as transformers avoids 0 / 0
    }
}

impl Llama3Scaling {
    /// Frequency of a pair of channels, in radians per position, for the extended context.
    pub fn scale_frequency(self, inv_freq: f64) -> f64 {
        let Self { factor, low_freq_factor, high_freq_factor, original_context_len } = self;
        let turns = original_context_len as f64 * inv_freq / TAU; // in the original context
        let unscaled = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
        interpolate(inv_freq, factor, unscaled.clamp(0., 1.))
    }
}
