//! The product with many rows of x, as reading a prompt has it: panels of W become f32, each in its core's cache, for the
//! f32 product.

use super::matrix::QuantizedMatrix;
use super::numbers;
use crate::ops::cpu::{Shared, with_scratch};
use crate::ops::matmul::{Destination, Matrix, product_here};
use crate::pool;

/// Rows of W per task.
const PANEL: usize = 64;

/// x Wᵀ, row by row.
pub(super) fn product(w: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    let (rows, columns) = w.dims();
    let n = x.len() / columns;
    let x = Matrix::new(x, n, columns);
    // Rows a multiple of 4 KiB apart would push each other out of the cache when a column is read.
    let width = columns + 16;
    let mut y = vec![0.; n * rows];
    let shared = Shared::new(&mut y);
    pool::for_each(rows.div_ceil(PANEL), |task| {
        let first = task * PANEL;
        let height = PANEL.min(rows - first);
        with_scratch::<f32, _>(height * width, |panel| {
            numbers::write(w.format(), w.panel(first, height), columns, (panel, width));
            // SAFETY: each task has its own columns of y.
            #[allow(unsafe_code)]
            let y = unsafe { Destination::shared(&shared, first, n, height, rows) };
            product_here(
                y,
                0.,
                (x, Matrix::strided(panel, height, columns, width).transposed()),
                1.,
            );
        });
    });
    y
}
