//! Matrix product without copies: any operand may be read transposed, and the result may be written
//! to strided rows.

use std::mem::MaybeUninit;

use gemm::{Parallelism, gemm};

use super::float::Float;
use super::parts::SharedSlice;

/// Borrowed matrix with the strides of its rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Matrix of `values`, row by row.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Matrix whose rows begin `row_stride` elements apart.
    pub(crate) fn strided(values: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        let end = if rows == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(end <= values.len(), "a {rows} by {columns} matrix in {} numbers", values.len());
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Transpose, on the same memory.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Memory of the matrix: its elements, and those between its rows or columns.
    pub(super) fn values(&self) -> &'a [T] {
        self.values
    }

    /// Matrix of `values`, which lie in memory as those of this one do.
    pub(super) fn with_values<U>(self, values: &[U]) -> Matrix<'_, U> {
        assert_eq!(values.len(), self.values.len(), "memory of another size");
        let Self { rows, columns, row_stride, column_stride, .. } = self;
        Matrix { values, rows, columns, row_stride, column_stride }
    }

    /// True if the elements of a column are adjacent in memory, and false if those of a row are.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn has_adjacent_rows(&self) -> bool {
        self.row_stride == 1
    }

    /// Elements of row `i`, which are adjacent, see [`Matrix::has_adjacent_rows`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn row(&self, i: usize) -> &'a [T] {
        debug_assert_eq!(self.column_stride, 1);
        &self.values[i * self.row_stride..][..self.columns]
    }

    /// Elements of column `i`, which are adjacent, see [`Matrix::has_adjacent_rows`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn column(&self, i: usize) -> &'a [T] {
        debug_assert_eq!(self.row_stride, 1);
        &self.values[i * self.column_stride..][..self.rows]
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// `rows` rows from `first` on.
    pub(super) fn rows_from(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows beyond the matrix");
        Self { values: self.values_from(first * self.row_stride), rows, ..self }
    }

    /// `columns` columns from `first` on.
    pub(super) fn columns_from(self, first: usize, columns: usize) -> Self {
        assert!(first + columns <= self.columns, "columns beyond the matrix");
        Self { values: self.values_from(first * self.column_stride), columns, ..self }
    }

    /// Elements from `start` on: none of a matrix without rows or columns.
    fn values_from(&self, start: usize) -> &'a [T] {
        self.values.get(start..).unwrap_or_default()
    }
}

/// Destination of a product: rows that begin `row_stride` elements apart.
///
/// Its creator guarantees that nothing else reads or writes those elements while it lives.
pub(crate) struct Destination<T> {
    start: *mut T,
    row_stride: usize,
}

impl<T> Destination<T> {
    /// Columns from `first` on of a matrix of (rows, columns).
    pub(crate) fn columns(values: &mut [T], first: usize, rows: usize, columns: usize) -> Self {
        assert!(rows * columns <= values.len(), "{rows} by {columns} into {}", values.len());
        Self { start: values[first..].as_mut_ptr(), row_stride: columns }
    }

    /// Rows of a slice that several tasks share, from element `start` on.
    ///
    /// # Safety
    /// No two destinations that are in use at the same time may overlap.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn shared(
        values: &SharedSlice<'_, T>,
        start: usize,
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let end = start + rows.saturating_sub(1) * row_stride + columns;
        assert!(end <= values.len, "{rows} rows from {start} on in {}", values.len);
        Self { start: values.pointer(start), row_stride }
    }
}

impl<T> Destination<MaybeUninit<T>> {
    /// This memory as numbers, for a product with beta = 0, which only writes them, or after they
    /// have been written.
    pub(super) fn numbers(self) -> Destination<T> {
        Destination { start: self.start.cast(), row_stride: self.row_stride }
    }
}

/// `c ← beta · c + alpha · a · b` on this thread alone.
pub(crate) fn matmul_single_threaded<T: Float>(
    c: Destination<T>,
    beta: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    alpha: T,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a product differ");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: `Matrix` checked that all its rows and columns are within its slice, `Destination`
    // did the same for the result, to which it has exclusive access.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            m,
            n,
            k,
            c.start,
            1,
            c.row_stride as isize,
            beta != T::ZERO,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
