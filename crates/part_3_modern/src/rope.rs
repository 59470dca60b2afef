//! 3.2 RoPE (Su et al., <https://arxiv.org/abs/2104.09864>): positions are encoded by rotation
//! instead of by an added vector.
//!
//! Components i and i + D/2 of a query or key at position p are rotated, as a pair, by the angle p
//! · base^(−2i/D). A dot product depends only on the difference of two angles, so attention logits
//! depend only on the distance of two tokens. (The paper pairs adjacent components; Hugging Face's
//! Llama files pair halves, and so do we.)
//!
//! Models for longer texts than they were trained on lower the frequencies ([`RopeScaling`]); YaRN
//! also enlarges queries and keys by a factor. GPT-NeoX rotates only the first quarter of each head
//! and leaves the rest without a position. Gemma 3 has other frequencies in the layers with a
//! window, which never see a large distance.

use candle_core::{DType, Device, Result, Tensor};
use model_io::config::{AttentionConfig, LayerType, PositionEncoding, RopeParameters, RopeScaling};
use tensor_core::ops::{self, Positions};

// ANCHOR: rotate
/// Rotates every head of `x: (B, T, H, D)`, with token t at position `start + t`. Reference for the
/// fused [`ops::rope()`].
pub fn apply_rope(x: &Tensor, rope: &Rope, start: usize) -> Result<Tensor> {
    let (_b, t, _h, d) = x.dims4()?; // D: the rotated channels
    let RotaryTable { cos, sin, .. } = rope.table(start, t, x.dtype(), x.device())?; // (T, D/2)
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?); // (T, 1, D/2), broadcast over heads
    let (a, b) = (x.narrow(3, 0, d / 2)?, x.narrow(3, d / 2, d / 2)?); // (B, T, H, D/2)
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 3)
}
// ANCHOR_END: rotate

/// Rotation frequencies of the pairs.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians per position, before scaling: (D/2).
    inv_freq: Vec<f64>,
    base: f64,
    scaling: Option<RopeScaling>,
}

impl Rope {
    /// Frequencies of `d` rotated channels; `None` if positions are learned.
    pub fn new(d: usize, position: PositionEncoding) -> Option<Self> {
        let RopeParameters { base, scaling, .. } = position.rope_parameters()?;
        let frequency = |i: usize| base.powf(-2. * i as f64 / d as f64);
        let inv_freq = (0..d / 2).map(frequency).collect();
        Some(Self { inv_freq, base, scaling })
    }

    /// cos and sin table of positions `first..first + len`, the last of the text.
    pub fn table(
        &self,
        first: usize,
        len: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<RotaryTable> {
        let (inv_freq, factor) = match self.scaling {
            None => (self.inv_freq.clone(), 1.),
            Some(scaling) => {
                (scaling.scale(&self.inv_freq, self.base, first + len), scaling.attention_factor())
            }
        };
        let positions = first..first + len;
        let angles =
            positions.flat_map(|p| inv_freq.iter().map(move |inv_freq| p as f64 * inv_freq));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| ((factor * angle.cos()) as f32, (factor * angle.sin()) as f32))
            .unzip();
        let table = |numbers: Vec<f32>| {
            Tensor::from_vec(numbers, (len, inv_freq.len()), device)?.to_dtype(dtype)
        };
        Ok(RotaryTable { cos: table(cos)?, sin: table(sin)?, first_position: first })
    }
}

/// Rotation frequencies of each type of layer.
#[derive(Debug, Clone)]
pub struct LayerRopes {
    full: Rope,
    /// `None`: those of the layers with full attention.
    sliding: Option<Rope>,
}

impl LayerRopes {
    /// Frequencies of the rotated channels of `attention`'s heads; `None` if positions are learned.
    pub fn of(attention: &AttentionConfig) -> Option<Self> {
        let d = attention.position.rope_parameters()?.rotary_dim(attention.head_dim);
        let local_base = attention.window.and_then(|window| window.local_rope_base);
        let sliding = local_base.and_then(|base| Rope::new(d, PositionEncoding::rope(base)));
        Some(Self { full: Rope::new(d, attention.position)?, sliding })
    }

    /// Tables of positions `first..first + len`, the last of the text.
    pub fn tables(
        &self,
        first: usize,
        len: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<RotaryTables> {
        let table = |rope: &Rope| rope.table(first, len, dtype, device);
        let sliding = self.sliding.as_ref().map(table).transpose()?;
        Ok(RotaryTables { full: table(&self.full)?, sliding })
    }
}

/// Rotary table of each type of layer.
#[derive(Debug, Clone)]
pub struct RotaryTables {
    full: RotaryTable,
    /// `None`: that of the layers with full attention.
    sliding: Option<RotaryTable>,
}

impl RotaryTables {
    /// Table of the layers of this type.
    pub fn get(&self, layer_type: LayerType) -> &RotaryTable {
        match (layer_type, &self.sliding) {
            (LayerType::SlidingAttention, Some(sliding)) => sliding,
            _ => &self.full,
        }
    }
}

/// cos and sin of the rotation angles of a range of positions, times YaRN's attention factor.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    /// (positions, D/2)
    cos: Tensor,
    /// (positions, D/2)
    sin: Tensor,
    /// Position of row 0.
    first_position: usize,
}

impl RotaryTable {
    /// sin of the rotation angles: (positions, D/2).
    pub fn sin(&self) -> &Tensor {
        &self.sin
    }

    /// Rotates the first channels of every head of `x: (B, T, H, D)`, as many as the table has,
    /// with the fused operation; same result as [`apply_rope`]. The table must cover all
    /// `positions`.
    pub fn apply(&self, x: &Tensor, positions: Positions<'_>) -> Result<Tensor> {
        let (_b, _t, _h, d) = x.dims4()?;
        let (_len, n_pair) = self.cos.dims2()?;
        if 2 * n_pair == d {
            return self.apply_to_all(x, positions);
        }
        let rotated = self.apply_to_all(&x.narrow(3, 0, 2 * n_pair)?.contiguous()?, positions)?;
        Tensor::cat(&[rotated, x.narrow(3, 2 * n_pair, d - 2 * n_pair)?], 3)
    }

    /// Rotates all channels of every head of `x: (B, T, H, D)`.
    fn apply_to_all(&self, x: &Tensor, positions: Positions<'_>) -> Result<Tensor> {
        match positions {
            Positions::StartAt(start) => {
                ops::rope(x, &self.cos, &self.sin, Positions::StartAt(start - self.first_position))
            }
            Positions::RowStarts(starts) => {
                let starts: Vec<i64> =
                    starts.iter().map(|s| s - self.first_position as i64).collect();
                ops::rope(x, &self.cos, &self.sin, Positions::RowStarts(&starts))
            }
            Positions::PerToken(positions) => {
                let positions: Vec<usize> =
                    positions.iter().map(|p| p - self.first_position).collect();
                ops::rope(x, &self.cos, &self.sin, Positions::PerToken(&positions))
            }
        }
    }
}
