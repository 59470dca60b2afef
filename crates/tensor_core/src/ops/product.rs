//! Matrix products without copies: any operand may be read transposed.

use candle_core::utils::get_num_threads;
use gemm::{Parallelism, gemm};

use super::cpu::Real;

/// A matrix that somebody else holds, with the distance between its rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `values` row by row.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that begin `row_stride` numbers apart.
    pub(crate) fn strided(values: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        let end = if rows == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(end <= values.len(), "a {rows} by {columns} matrix in {} numbers", values.len());
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `c ← keep · c + a · b` on all threads, `c` row by row.
pub(crate) fn product<T: Real>(c: &mut [T], keep: T, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    let stride = b.columns;
    let threads = match get_num_threads() {
        1 => Parallelism::None,
        n => Parallelism::Rayon(n),
    };
    multiply((c, stride), keep, (a, b), T::ONE, threads);
}

/// `c ← keep · c + scale · a · b` on this thread alone; the rows of `c` begin `stride` numbers apart.
pub(crate) fn product_here<T: Real>(
    (c, stride): (&mut [T], usize),
    keep: T,
    operands: (Matrix<'_, T>, Matrix<'_, T>),
    scale: T,
) {
    multiply((c, stride), keep, operands, scale, Parallelism::None);
}

fn multiply<T: Real>(
    (c, stride): (&mut [T], usize),
    keep: T,
    (a, b): (Matrix<'_, T>, Matrix<'_, T>),
    scale: T,
    threads: Parallelism,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a product differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * stride + n <= c.len(), "a {m} by {n} result in {} numbers", c.len());
    // SAFETY: `Matrix` checked that every row and column it names lies in its slice, the assertion above that the
    // result does; `c` is borrowed exclusively, so it overlaps neither operand.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            keep != T::ZERO,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}
