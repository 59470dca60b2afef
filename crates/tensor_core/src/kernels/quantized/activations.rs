//! Activations quantized to 8 bits: x ≈ scale · p, with scale = max |x| / 127 over each 32
//! elements.
//!
//! For weights of more than 5 bits, the residual is quantized as well, so that x is more precise
//! than the weights. (llama.cpp does not quantize the residual. In the output layer, which is
//! usually stored in 6 or 8 bits, it decides between tokens of nearly equal probability.)

use super::format::Precision;
use crate::kernels::vectorized::vectorized;

/// Elements that share a scale.
const BLOCK: usize = 32;

/// Rows of x as bytes, each followed by its residuals if these are stored, with scale and scale · Σ
/// p for each group of the weight's format.
pub(super) struct Activations {
    /// Rows of bytes per row of x: 1, or 2 with residuals.
    parts: usize,
    pub(super) columns: usize,
    /// Groups per row.
    pub(super) groups: usize,
    /// Groups per row, padded with zeros to a multiple of 8, so that vector loops have no
    /// remainder.
    pub(super) padded: usize,
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
}

impl Activations {
    /// Quantizes each row of `columns` elements, with sums over groups of `group` (16 or 32).
    pub(super) fn new(x: &[f32], columns: usize, group: usize, precision: Precision) -> Self {
        let parts = if precision == Precision::Int8WithResidual { 2 } else { 1 };
        let (rows, groups) = (parts * x.len() / columns, columns / group);
        let padded = groups.next_multiple_of(8);
        let mut result = Self {
            parts,
            columns,
            groups,
            padded,
            quants: vec![0; parts * x.len()],
            scales: vec![0.; rows * padded],
            sums: vec![0.; rows * padded],
        };
        let all = (&mut result.quants, &mut result.scales, &mut result.sums);
        let quants = all.0.chunks_exact_mut(parts * columns);
        let width = parts * padded;
        let scales = all.1.chunks_exact_mut(width).zip(all.2.chunks_exact_mut(width));
        let mut residual = vec![0.; columns];
        for ((x, quants), (scales, sums)) in x.chunks_exact(columns).zip(quants).zip(scales) {
            let (quants, residual_quants) = quants.split_at_mut(columns);
            let (scales, residual_scales) = scales.split_at_mut(padded);
            let (sums, residual_sums) = sums.split_at_mut(padded);
            vectorized!(round(x, quants, scales, sums, group));
            if precision == Precision::Int8WithResidual {
                vectorized!({
                    for (i, residual) in residual.iter_mut().enumerate() {
                        *residual = x[i] - scales[i / group] * f32::from(quants[i]);
                    }
                    round(&residual, residual_quants, residual_scales, residual_sums, group);
                });
            }
        }
        result
    }

    /// Number of rows of x.
    pub(super) fn rows(&self) -> usize {
        self.quants.len() / (self.parts * self.columns)
    }

    /// R rows of bytes from row `first` of x on, each followed by its residuals if there are any.
    #[inline(always)]
    pub(super) fn rows_from<const R: usize>(&self, first: usize) -> Rows<'_, R> {
        Rows {
            groups: self.groups,
            mask: std::array::from_fn(
                |i| if self.padded - 8 + i < self.groups { u32::MAX } else { 0 },
            ),
            quants: std::array::from_fn(|i| {
                &self.quants[(self.parts * first + i) * self.columns..][..self.columns]
            }),
            scales: std::array::from_fn(|i| {
                &self.scales[(self.parts * first + i) * self.padded..][..self.padded]
            }),
            sums: std::array::from_fn(|i| {
                &self.sums[(self.parts * first + i) * self.padded..][..self.padded]
            }),
        }
    }
}

/// R rows of bytes.
pub(super) struct Rows<'a, const R: usize> {
    /// Groups per row.
    pub(super) groups: usize,
    /// All ones for those of the last eight (padded) groups that exist.
    pub(super) mask: [u32; 8],
    /// Bytes of the rows.
    pub(super) quants: [&'a [i8]; R],
    /// Scale of each group, padded with zeros.
    pub(super) scales: [&'a [f32]; R],
    /// scale · Σ p of each group, padded with zeros.
    pub(super) sums: [&'a [f32]; R],
}

#[inline(always)]
fn round(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [f32], group: usize) {
    let per_block = BLOCK / group;
    let groups = scales.chunks_exact_mut(per_block).zip(sums.chunks_exact_mut(per_block));
    let blocks = x.as_chunks::<BLOCK>().0.iter().zip(quants.as_chunks_mut::<BLOCK>().0);
    for ((x, quants), (scales, sums)) in blocks.zip(groups) {
        // Compared as bits, where NaN is above all numbers, so that a NaN in x reaches the result.
        let max = x.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff));
        let scale = f32::from_bits(max) / 127.;
        let inverse = if scale > 0. { 1. / scale } else { 0. };
        for (q, x) in quants.iter_mut().zip(x) {
            *q = (x * inverse).round_ties_even().clamp(-127., 127.) as i8;
        }
        scales.fill(scale);
        for (sum, quants) in sums.iter_mut().zip(quants.chunks_exact(group)) {
            *sum = scale * quants.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
        }
    }
}
