//! 3.2 RoPE (Su et al., <https://arxiv.org/abs/2104.09864>): a token's place is an angle, not a vector added to it.
//!
//! Numbers i and i + D/2 of a query or key at position p are turned, as a pair, by p · base^(−2i/D). A dot product only
//! feels the difference of two angles, so attention sees how far apart two tokens are, wherever they stand.
//! (The paper pairs neighbours; Llama's files pair halves, and so do we.)

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Tensor};
use tensor_core::ops::{self, Positions};

use crate::config::{Llama3Scaling, PositionEncoding};

/// The lesson: turns every head of `x: (B, T, H, D)`, token t standing at `start + t`, in plain steps.
pub fn apply_rope(x: &Tensor, rope: &Rope, start: usize) -> Result<Tensor> {
    let (_b, t, _h, d) = x.dims4()?;
    let RotaryTable { cos, sin, .. } = rope.table(start, t, x.dtype(), x.device())?; // (T, D/2)
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?); // (T, 1, D/2): the same for all heads
    let (a, b) = (x.narrow(3, 0, d / 2)?, x.narrow(3, d / 2, d / 2)?); // (B, T, H, D/2)
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 3)
}

/// How fast each pair turns.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians per position, D/2 of them.
    inv_freq: Vec<f64>,
}

impl Rope {
    /// For heads of `head_dim` numbers; `None` where positions are learned.
    pub fn new(head_dim: usize, position: PositionEncoding) -> Option<Self> {
        let PositionEncoding::Rope { base, scaling } = position else { return None };
        let speed = |i: usize| base.powf(-2. * i as f64 / head_dim as f64);
        let scaled = |speed| scaling.map_or(speed, |scaling| scaling.scale_frequency(speed));
        Some(Self { inv_freq: (0..head_dim / 2).map(speed).map(scaled).collect() })
    }

    /// cos and sin at the positions from `first` on: as many as are asked for, wherever they are.
    pub fn table(
        &self,
        first: usize,
        len: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<RotaryTable> {
        let positions = first..first + len;
        let angles =
            positions.flat_map(|p| self.inv_freq.iter().map(move |speed| p as f64 * speed));
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        let table = |numbers: Vec<f32>| {
            Tensor::from_vec(numbers, (len, self.inv_freq.len()), device)?.to_dtype(dtype)
        };
        Ok(RotaryTable { cos: table(cos)?, sin: table(sin)?, first_position: first })
    }
}

impl Llama3Scaling {
    /// The speed in the longer context.
    pub(crate) fn scale_frequency(self, speed: f64) -> f64 {
        let Self {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context_len: original_context,
        } = self;
        let turns = original_context as f64 * speed / TAU; // within the original context
        let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
        let kept = kept.clamp(0., 1.);
        speed * (kept + (1. - kept) / factor)
    }
}

/// The angles of a stretch of positions.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    /// (positions, D/2)
    cos: Tensor,
    /// (positions, D/2)
    sin: Tensor,
    /// The position of row 0.
    first_position: usize,
}

impl RotaryTable {
    /// The sine of each pair's angle: (positions, D/2).
    pub fn sin(&self) -> &Tensor {
        &self.sin
    }

    /// Turns every head of `x: (B, T, H, D)`: the fused twin of [`rotate`]. The stretch must hold all positions.
    pub fn apply(&self, x: &Tensor, positions: Positions<'_>) -> Result<Tensor> {
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
