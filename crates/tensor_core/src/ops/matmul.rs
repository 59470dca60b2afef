//! Matrix products without copies: any operand may be read transposed, and the result may be
//! written to strided rows.

use std::mem::MaybeUninit;

use gemm::{Parallelism, gemm};

use super::cpu::SharedSlice;
use super::float::Float;
use crate::pool;

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

    fn rows(self, first: usize, rows: usize) -> Self {
        Self { values: &self.values[first * self.row_stride..], rows, ..self }
    }

    fn columns(self, first: usize, columns: usize) -> Self {
        Self { values: &self.values[first * self.column_stride..], columns, ..self }
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

/// `a · b + bias` on all threads, row by row; the bias, if any, is added to each row.
pub(crate) fn matmul<T: Float>(a: Matrix<'_, T>, b: Matrix<'_, T>, bias: Option<&[T]>) -> Vec<T> {
    let mut c = Vec::new();
    append_matmul(&mut c, a, b, bias);
    c
}

/// [`matmul`] that appends the result to `c`.
pub(crate) fn append_matmul<T: Float>(
    c: &mut Vec<T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    bias: Option<&[T]>,
) {
    let n = a.rows * b.columns;
    c.reserve_exact(n);
    parallel_matmul(&mut c.spare_capacity_mut()[..n], a, b, bias);
    // SAFETY: the strips cover the new elements, and each has been written.
    #[allow(unsafe_code)]
    unsafe {
        c.set_len(c.len() + n);
    }
}

/// `c ← beta · c + alpha · a · b` on this thread alone.
pub(crate) fn matmul_single_threaded<T: Float>(
    c: Destination<T>,
    beta: T,
    (a, b): (Matrix<'_, T>, Matrix<'_, T>),
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

/// Minimal number of multiplications for several threads: a smaller product is done before another
/// thread wakes.
const MIN_PARALLEL_WORK: usize = 64 * 64 * 64;

/// Size of a right operand, in elements, that stays in a core's own cache while rows of the left
/// one stream by.
const CACHE_ELEMENTS: usize = 128 * 1024;

/// Columns of the result per task if the right operand is larger than that: its strip then stays in
/// the cache. (Measured on the products of a training step: one strip per thread is up to 15 %
/// slower, strips of 128 leave threads without work at the end.)
const STRIP: usize = 64;

/// Divides the result into strips of columns; if there are fewer strips than threads, also into
/// ranges of rows.
fn parallel_matmul<T: Float>(
    c: &mut [MaybeUninit<T>],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    bias: Option<&[T]>,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let (width, parts) = if m * n * k < MIN_PARALLEL_WORK {
        (n.max(1), 1)
    } else if n * k <= CACHE_ELEMENTS {
        (n, pool::threads())
    } else {
        (STRIP, pool::threads().div_ceil(n.div_ceil(STRIP)))
    };
    let height = m.div_ceil(parts).next_multiple_of(32).max(1); // whole tiles of the kernel
    let strips = n.div_ceil(width);
    let c = SharedSlice::new(c);
    pool::for_each(strips * m.div_ceil(height), |task| {
        let (first_column, first_row) = (task % strips * width, task / strips * height);
        let a = a.rows(first_row, height.min(m - first_row));
        let b = b.columns(first_column, width.min(n - first_column));
        // Initialize the rows of the strip here, so that they are in the cache for the product.
        let init = match (bias, k) {
            (None, 0) => Some(None),
            (None, _) => None,
            (Some(bias), _) => Some(Some(&bias[first_column..][..b.columns])),
        };
        if let Some(numbers) = init {
            for i in 0..a.rows {
                // SAFETY: this is the only task that works on the strip.
                #[allow(unsafe_code)]
                let c = unsafe { c.range((first_row + i) * n + first_column, b.columns) };
                match numbers {
                    None => c.fill(MaybeUninit::new(T::ZERO)),
                    Some(numbers) => _ = c.write_copy_of_slice(numbers),
                }
            }
        }
        let beta = if init.is_some() { T::ONE } else { T::ZERO };
        let start = c.pointer(first_row * n + first_column).cast::<T>();
        matmul_single_threaded(Destination { start, row_stride: n }, beta, (a, b), T::ONE);
    });
}
