//! Dequantization of blocks to f32, with the rounding of ggml: scale · (q − zero), or scale · q +
//! offset.

use super::format::{Format, ZeroPoint};
use crate::kernels::parts::{for_each_part, whole_rows};
use crate::kernels::vectorized::vectorized;

/// All weights of a matrix.
pub(crate) fn dequantize<F: Format>(w: &[u8], columns: usize) -> Vec<f32> {
    let row_bytes = F::row_bytes(columns);
    let mut values = vec![0.; w.len() / row_bytes * columns];
    let part = whole_rows(columns);
    for_each_part([(&mut values, part)], |task, [values]| {
        let first = task * part / columns;
        dequantize_rows::<F>(&w[first * row_bytes..], columns, values, columns);
    });
    values
}

/// Weights of the first rows, written to rows of `width` elements, which may be more than
/// `columns`.
pub(crate) fn dequantize_rows<F: Format>(
    w: &[u8],
    columns: usize,
    values: &mut [f32],
    width: usize,
) {
    let groups = columns / F::GROUP_SIZE;
    let mut scales = vec![0.; 2 * groups];
    let (scales, offsets) = scales.split_at_mut(groups);
    for (row, values) in w.chunks_exact(F::row_bytes(columns)).zip(values.chunks_exact_mut(width)) {
        vectorized!(dequantize_row::<F>(row, scales, offsets, &mut values[..columns]));
    }
}

#[inline(always)]
fn dequantize_row<F: Format>(
    row: &[u8],
    scales: &mut [f32],
    offsets: &mut [f32],
    values: &mut [f32],
) {
    F::scales(row, scales, offsets);
    let mut quants = [0i8; 256];
    let quants = &mut quants[..F::BLOCK_SIZE];
    let per_block = F::BLOCK_SIZE / F::GROUP_SIZE;
    let scales = scales.chunks_exact(per_block).zip(offsets.chunks_exact(per_block));
    let blocks = row.chunks_exact(F::BLOCK_BYTES).zip(values.chunks_exact_mut(F::BLOCK_SIZE));
    for ((block, values), (scales, offsets)) in blocks.zip(scales) {
        F::quants(block, quants);
        let groups = values.chunks_exact_mut(F::GROUP_SIZE).zip(quants.chunks_exact(F::GROUP_SIZE));
        for ((values, quants), (&scale, &offset)) in groups.zip(scales.iter().zip(offsets)) {
            for (value, &q) in values.iter_mut().zip(quants) {
                *value = match F::ZERO_POINT {
                    ZeroPoint::Fixed(zero) => scale * f32::from(i16::from(q) - i16::from(zero)),
                    ZeroPoint::PerGroup => scale * f32::from(q) + offset,
                };
            }
        }
    }
}
