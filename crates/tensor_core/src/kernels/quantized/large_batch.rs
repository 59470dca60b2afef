//! Quantized product with many rows of x, as when a prompt is processed: panels of W are
//! dequantized to f32, each in its core's cache, for the f32 product.

use super::dequantize::dequantize_rows;
use super::format::Format;
use crate::kernels::float::with_scratch;
use crate::kernels::matrix::{Destination, Matrix, matmul_single_threaded};
use crate::kernels::parts::SharedSlice;
use crate::kernels::pool;

/// Rows of W per task.
const PANEL_ROWS: usize = 64;

/// x Wᵀ, row by row.
pub(super) fn matmul<F: Format>(w: &[u8], columns: usize, x: &[f32]) -> Vec<f32> {
    let row_bytes = F::row_bytes(columns);
    let (rows, n) = (w.len() / row_bytes, x.len() / columns);
    let x = Matrix::new(x, n, columns);
    // Rows a multiple of 4 KiB apart would evict each other from the cache when a column is read.
    let width = columns + 16;
    let mut y = vec![0.; n * rows];
    let shared = SharedSlice::new(&mut y);
    pool::for_each(rows.div_ceil(PANEL_ROWS), |task| {
        let first = task * PANEL_ROWS;
        let height = PANEL_ROWS.min(rows - first);
        with_scratch::<f32, _>(height * width, |panel| {
            dequantize_rows::<F>(&w[first * row_bytes..], columns, panel, width);
            // SAFETY: each task has its own columns of y.
            #[allow(unsafe_code)]
            let y = unsafe { Destination::shared(&shared, first, n, height, rows) };
            let panel = Matrix::strided(panel, height, columns, width).transposed();
            matmul_single_threaded(y, 0., x, panel, 1.);
        });
    });
    y
}
