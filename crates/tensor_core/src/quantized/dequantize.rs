//! Dequantization of blocks to f32, with the rounding of ggml: scale · (q − zero), or scale · q +
//! offset.

use super::format::{Format, Quantization, ZeroPoint, by_format};
use super::matrix::QuantizedMatrix;
use crate::ops::cpu::{for_each_part, vectorized, whole_rows};

/// All weights of a matrix.
pub(super) fn dequantize(matrix: &QuantizedMatrix) -> Vec<f32> {
    let (rows, columns) = matrix.dims();
    let mut values = vec![0.; rows * columns];
    let part = whole_rows(columns);
    for_each_part([(&mut values, part)], |task, [values]| {
        let panel = matrix.panel(task * part / columns, values.len() / columns);
        dequantize_panel(matrix.format(), panel, columns, (values, columns));
    });
    values
}

/// Weights of the rows in `panel`, written to rows of at least as many elements.
pub(super) fn dequantize_panel(
    format: Quantization,
    panel: &[u8],
    columns: usize,
    (values, width): (&mut [f32], usize),
) {
    by_format!(format, dequantize_panel_as(panel, columns, values, width));
}

fn dequantize_panel_as<F: Format>(panel: &[u8], columns: usize, values: &mut [f32], width: usize) {
    let (groups, row_bytes) = (columns / F::GROUP_SIZE, columns / F::BLOCK_SIZE * F::BLOCK_BYTES);
    let mut scales = vec![0.; 2 * groups];
    let (scales, offsets) = scales.split_at_mut(groups);
    for (row, values) in panel.chunks_exact(row_bytes).zip(values.chunks_exact_mut(width)) {
        vectorized!(dequantize_row::<F>(row, (scales, offsets), &mut values[..columns]));
    }
}

#[inline(always)]
fn dequantize_row<F: Format>(
    row: &[u8],
    (scales, offsets): (&mut [f32], &mut [f32]),
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
