//! Position encoding: learned vectors, or a rotation of queries and keys with its base, its
//! scaling, and the channels and layers that it leaves out.

use candle_core::{Result, bail};

use crate::rope_scaling::RopeScaling;

/// Position encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a configuration is Copy, and a model has one")]
pub enum PositionEncoding {
    /// Learned vector per position, added to the embedding, as in GPT-2; limited to `context_len`.
    Learned {
        /// Unused rows at the start of the table: 2 in OPT, else 0.
        offset: usize,
    },
    /// Rotary embedding of queries and keys.
    Rope(RopeParameters),
}

/// Parameters of RoPE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeParameters {
    /// θ, 10,000 in the paper.
    pub base: f64,
    /// Context-extension scaling of the frequencies.
    pub scaling: Option<RopeScaling>,
    /// Fraction of the channels of a head that is rotated, the first ones: 1 in most models, 1/4 in
    /// GPT-NeoX.
    pub rotary_fraction: f64,
    /// n if every n-th layer leaves queries and keys unrotated (NoPE,
    /// <https://arxiv.org/abs/2501.18795>): SmolLM3.
    pub no_rope_interval: Option<usize>,
}

impl PositionEncoding {
    /// RoPE of base `base` in all layers, of whole heads and without scaling.
    pub const fn rope(base: f64) -> Self {
        Self::Rope(RopeParameters::new(base))
    }

    /// Parameters of RoPE; `None` if positions are learned.
    pub fn rope_parameters(self) -> Option<RopeParameters> {
        match self {
            Self::Learned { .. } => None,
            Self::Rope(parameters) => Some(parameters),
        }
    }

    /// True if cached keys and values are valid only up to the context length: there are no more
    /// learned vectors, or the frequencies of all positions depend on the length of a longer text.
    pub fn is_limited(self) -> bool {
        match self {
            Self::Learned { .. } => true,
            Self::Rope(rope) => matches!(rope.scaling, Some(RopeScaling::Dynamic { .. })),
        }
    }

    /// Length up to which a text has other frequencies than a longer one, in all its positions:
    /// keys that were cached before are useless after it.
    pub fn frequency_change(self) -> Option<usize> {
        match self.rope_parameters()?.scaling {
            Some(RopeScaling::Long(long)) => Some(long.original_context_len),
            _ => None,
        }
    }

    /// Checks the encoding for heads of `head_dim` channels and texts of `context_len` tokens.
    pub(crate) fn validate(self, head_dim: usize, context_len: usize) -> Result<()> {
        match self {
            Self::Rope(parameters) => parameters.validate(head_dim),
            Self::Learned { offset } if context_len.checked_add(offset).is_none() => {
                bail!("{context_len} learned positions are too many")
            }
            Self::Learned { .. } => Ok(()),
        }
    }
}

impl RopeParameters {
    /// Rotation of whole heads in all layers, by the frequencies of base `base` without scaling.
    pub const fn new(base: f64) -> Self {
        Self { base, scaling: None, rotary_fraction: 1., no_rope_interval: None }
    }

    /// Channels that are rotated of a head of `head_dim`.
    pub fn rotary_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.rotary_fraction) as usize
    }

    /// True if layer `layer`, counted from 0, rotates queries and keys.
    pub fn has_rope(&self, layer: usize) -> bool {
        self.no_rope_interval.is_none_or(|interval| !(layer + 1).is_multiple_of(interval))
    }

    fn validate(&self, head_dim: usize) -> Result<()> {
        let Self { base, scaling, rotary_fraction: fraction, no_rope_interval } = *self;
        if !(base > 0. && base.is_finite()) {
            bail!("the RoPE base must be above 0, got {base}");
        }
        let rotary_dim = self.rotary_dim(head_dim);
        if let Some(scaling) = scaling {
            scaling.validate(rotary_dim, base)?;
        }
        if !(fraction > 0. && fraction <= 1.) {
            bail!("RoPE rotates the fraction {fraction} of a head: must be above 0, at most 1");
        }
        if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) {
            bail!("RoPE rotates pairs of channels, not {rotary_dim} of a head of {head_dim}");
        }
        if no_rope_interval == Some(0) {
            bail!("the interval of layers without RoPE is 0");
        }
        Ok(())
    }
}
