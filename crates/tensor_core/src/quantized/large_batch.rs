//! Quantized product with many rows of x, as when a prompt is processed: panels of W are
//! dequantized to f32, each in its core's cache, for the f32 product.

use super::dequantize::dequantize_panel;
use super::matrix::QuantizedMatrix;
use crate::ops::cpu::{SharedSlice, with_scratch};
use crate::ops::matmul::{Destination, Matrix, matmul_single_threaded};
use crate::pool;

/// Rows of W per task.
const PANEL_ROWS: usize = 64;

/// x Wᵀ, row by row.
pub(super) fn matmul(w: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    let (rows, columns) = w.dims();
    let n = x.len() / columns;
    let x = Matrix::new(x, n, columns);
    // Rows a multiple of 4 KiB apart would evict each other from the cache when a column is read.
    let width = columns + 16;
    let mut y = vec![0.; n * rows];
    let shared = SharedSlice::new(&mut y);
    pool::for_each(rows.div_ceil(PANEL_ROWS), |task| {
        let first = task * PANEL_ROWS;
        let height = PANEL_ROWS.min(rows - first);
        with_scratch::<f32, _>(height * width, |panel| {
            dequantize_panel(w.format(), w.panel(first, height), columns, (panel, width));
            // SAFETY: each task has its own columns of y.
            #[allow(unsafe_code)]
            let y = unsafe { Destination::shared(&shared, first, n, height, rows) };
            matmul_single_threaded(
                y,
                0.,
                (x, Matrix::strided(panel, height, columns, width).transposed()),
                1.,
            );
        });
    });
    y
}
