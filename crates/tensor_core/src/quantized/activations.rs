//! The rows of x in 8 bits: x ≈ scale · p, with scale = max |x| / 127 over each 32 numbers.

use crate::ops::cpu::vectorized;

/// Numbers that share a scale.
const BLOCK: usize = 32;

/// Rows of x as bytes, with scale and scale · Σ p for each group of the weight's format.
pub(super) struct Activations {
    pub(super) columns: usize,
    /// Groups of a row.
    pub(super) groups: usize,
    /// As many, and zeros up to a multiple of 8, so that vector loops need no rest.
    pub(super) padded: usize,
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
}

impl Activations {
    /// Rounds each row of `columns` numbers, sums taken over groups of `group` (16 or 32).
    pub(super) fn new(x: &[f32], columns: usize, group: usize) -> Self {
        let (rows, groups) = (x.len() / columns, columns / group);
        let padded = groups.next_multiple_of(8);
        let mut result = Self {
            columns,
            groups,
            padded,
            quants: vec![0; x.len()],
            scales: vec![0.; rows * padded],
            sums: vec![0.; rows * padded],
        };
        let all = (&mut result.quants, &mut result.scales, &mut result.sums);
        let quants = all.0.chunks_exact_mut(columns);
        let scales = all.1.chunks_exact_mut(padded).zip(all.2.chunks_exact_mut(padded));
        for ((x, quants), (scales, sums)) in x.chunks_exact(columns).zip(quants).zip(scales) {
            vectorized!(round(x, quants, (scales, sums), group));
        }
        result
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.quants.len() / self.columns
    }

    /// R rows from `first` on.
    #[inline(always)]
    pub(super) fn rows_from<const R: usize>(&self, first: usize) -> Rows<'_, R> {
        Rows {
            groups: self.groups,
            mask: std::array::from_fn(
                |i| if self.padded - 8 + i < self.groups { u32::MAX } else { 0 },
            ),
            quants: std::array::from_fn(|i| {
                &self.quants[(first + i) * self.columns..][..self.columns]
            }),
            scales: std::array::from_fn(|i| {
                &self.scales[(first + i) * self.padded..][..self.padded]
            }),
            sums: std::array::from_fn(|i| &self.sums[(first + i) * self.padded..][..self.padded]),
        }
    }
}

/// R rows.
pub(super) struct Rows<'a, const R: usize> {
    /// Groups of a row.
    pub(super) groups: usize,
    /// Ones where the last eight, padding included, are groups.
    pub(super) mask: [u32; 8],
    /// Their bytes.
    pub(super) quants: [&'a [i8]; R],
    /// The scale of each group, padded with zeros.
    pub(super) scales: [&'a [f32]; R],
    /// scale · Σ p of each group, padded with zeros.
    pub(super) sums: [&'a [f32]; R],
}

#[inline(always)]
fn round(x: &[f32], quants: &mut [i8], (scales, sums): (&mut [f32], &mut [f32]), group: usize) {
    let per_block = BLOCK / group;
    let groups = scales.chunks_exact_mut(per_block).zip(sums.chunks_exact_mut(per_block));
    let blocks = x.as_chunks::<BLOCK>().0.iter().zip(quants.as_chunks_mut::<BLOCK>().0);
    for ((x, quants), (scales, sums)) in blocks.zip(groups) {
        // Compared as bits, where NaN is above all numbers: a bad x shows in the result.
        let most = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
        let scale = f32::from_bits(most) / 127.;
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
