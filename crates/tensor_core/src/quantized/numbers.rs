//! From blocks to f32, with the roundings of ggml: scale · (q − zero), or scale · q + offset.

use super::format::{Format, Quantization, Zero, by_format};
use super::matrix::QuantizedMatrix;
use crate::ops::cpu::{for_each_part, vectorized, whole_rows};

/// All numbers of a matrix.
pub(super) fn all(matrix: &QuantizedMatrix) -> Vec<f32> {
    let (rows, columns) = matrix.dims();
    let mut numbers = vec![0.; rows * columns];
    let part = whole_rows(columns);
    for_each_part([(&mut numbers, part)], |task, [numbers]| {
        let panel = matrix.panel(task * part / columns, numbers.len() / columns);
        write(matrix.format(), panel, columns, (numbers, columns));
    });
    numbers
}

/// The numbers of the rows in `panel`, written to rows as wide or wider.
pub(super) fn write(
    format: Quantization,
    panel: &[u8],
    columns: usize,
    (numbers, width): (&mut [f32], usize),
) {
    by_format!(format, write_as(panel, columns, numbers, width));
}

fn write_as<F: Format>(panel: &[u8], columns: usize, numbers: &mut [f32], width: usize) {
    let (groups, row_bytes) = (columns / F::GROUP, columns / F::NUMBERS * F::BYTES);
    let mut scales = vec![0.; 2 * groups];
    let (scales, offsets) = scales.split_at_mut(groups);
    for (row, numbers) in panel.chunks_exact(row_bytes).zip(numbers.chunks_exact_mut(width)) {
        vectorized!(write_row::<F>(row, (scales, offsets), &mut numbers[..columns]));
    }
}

#[inline(always)]
fn write_row<F: Format>(
    row: &[u8],
    (scales, offsets): (&mut [f32], &mut [f32]),
    numbers: &mut [f32],
) {
    F::scales(row, scales, offsets);
    let mut quants = [0i8; 256];
    let quants = &mut quants[..F::NUMBERS];
    let per_block = F::NUMBERS / F::GROUP;
    let scales = scales.chunks_exact(per_block).zip(offsets.chunks_exact(per_block));
    let blocks = row.chunks_exact(F::BYTES).zip(numbers.chunks_exact_mut(F::NUMBERS));
    for ((block, numbers), (scales, offsets)) in blocks.zip(scales) {
        F::quants(block, quants);
        let groups = numbers.chunks_exact_mut(F::GROUP).zip(quants.chunks_exact(F::GROUP));
        for ((numbers, quants), (&scale, &offset)) in groups.zip(scales.iter().zip(offsets)) {
            for (number, &q) in numbers.iter_mut().zip(quants) {
                *number = match F::ZERO {
                    Zero::At(zero) => scale * f32::from(i16::from(q) - i16::from(zero)),
                    Zero::Anywhere => scale * f32::from(q) + offset,
                };
            }
        }
    }
}
