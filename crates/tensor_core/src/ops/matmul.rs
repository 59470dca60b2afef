//! Matrix products without copies: any operand may be read transposed, any result written into rows far apart.

use std::mem::MaybeUninit;

use gemm::{Parallelism, gemm};

use super::cpu::Shared;
use super::float::Real;
use crate::pool;

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

    fn rows(self, first: usize, rows: usize) -> Self {
        Self { values: &self.values[first * self.row_stride..], rows, ..self }
    }

    fn columns(self, first: usize, columns: usize) -> Self {
        Self { values: &self.values[first * self.column_stride..], columns, ..self }
    }
}

/// Where a product goes: `rows` rows that begin `row_stride` numbers apart.
///
/// Whoever makes one promises that nobody else reads or writes those numbers while it lives.
pub(crate) struct Destination<T> {
    start: *mut T,
    row_stride: usize,
}

impl<T> Destination<T> {
    /// The columns from `first` on of a matrix of (rows, columns).
    pub(crate) fn columns(values: &mut [T], first: usize, rows: usize, columns: usize) -> Self {
        assert!(rows * columns <= values.len(), "{rows} by {columns} into {}", values.len());
        Self { start: values[first..].as_mut_ptr(), row_stride: columns }
    }

    /// Rows of a slice that several tasks share, from number `start` on.
    ///
    /// # Safety
    /// No two destinations in use at a time may overlap.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn shared(
        values: &Shared<'_, T>,
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

/// `a · b` on all threads, row by row, `row` added to each row of the result where there is one.
pub(crate) fn product<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, row: Option<&[T]>) -> Vec<T> {
    let mut c = Vec::new();
    append_product(&mut c, a, b, row);
    c
}

/// The same behind what `c` holds.
pub(crate) fn append_product<T: Real>(
    c: &mut Vec<T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    row: Option<&[T]>,
) {
    let n = a.rows * b.columns;
    c.reserve_exact(n);
    share(&mut c.spare_capacity_mut()[..n], a, b, row);
    // SAFETY: the strips cover the new numbers, and each has been written.
    #[allow(unsafe_code)]
    unsafe {
        c.set_len(c.len() + n);
    }
}

/// `c ← keep · c + scale · a · b` on this thread alone.
pub(crate) fn product_here<T: Real>(
    c: Destination<T>,
    keep: T,
    (a, b): (Matrix<'_, T>, Matrix<'_, T>),
    scale: T,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a product differ");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: `Matrix` checked that every row and column it names lies in its slice, `Destination` the same of the
    // result, which nobody else touches.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            m,
            n,
            k,
            c.start,
            1,
            c.row_stride as isize,
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
            Parallelism::None,
        );
    }
}

/// A product of fewer multiplications than this is done sooner than another thread wakes.
const WORTH_SHARING: usize = 64 * 64 * 64;

/// Numbers of the right operand that stay in a core's own cache while rows of the left one pass by.
const CACHED: usize = 128 * 1024;

/// Columns of the result that make a task where the right operand is larger than that: its part then stays in the cache.
/// (Measured on the products of a training step: one strip per thread is up to 15 % slower, strips of 128 leave threads
/// without work at the end.)
const STRIP: usize = 64;

/// Hands out strips of the result; where there are fewer than threads, their upper and lower parts.
fn share<T: Real>(c: &mut [MaybeUninit<T>], a: Matrix<'_, T>, b: Matrix<'_, T>, row: Option<&[T]>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let (width, parts) = if m * n * k < WORTH_SHARING {
        (n.max(1), 1)
    } else if n * k <= CACHED {
        (n, pool::threads())
    } else {
        (STRIP, pool::threads().div_ceil(n.div_ceil(STRIP)))
    };
    let height = m.div_ceil(parts).next_multiple_of(32).max(1); // whole tiles of the kernel
    let strips = n.div_ceil(width);
    let c = Shared::new(c);
    pool::for_each(strips * m.div_ceil(height), |task| {
        let (first_column, first_row) = (task % strips * width, task / strips * height);
        let a = a.rows(first_row, height.min(m - first_row));
        let b = b.columns(first_column, width.min(n - first_column));
        // Rows of the strip, written now and read by the product while they are in the core's cache.
        let start = match (row, k) {
            (None, 0) => Some(None),
            (None, _) => None,
            (Some(row), _) => Some(Some(&row[first_column..][..b.columns])),
        };
        if let Some(numbers) = start {
            for i in 0..a.rows {
                // SAFETY: the only task that works on this strip.
                #[allow(unsafe_code)]
                let c = unsafe { c.range((first_row + i) * n + first_column, b.columns) };
                match numbers {
                    None => c.fill(MaybeUninit::new(T::ZERO)),
                    Some(numbers) => _ = c.write_copy_of_slice(numbers),
                }
            }
        }
        let keep = if start.is_some() { T::ONE } else { T::ZERO };
        let start = c.pointer(first_row * n + first_column).cast::<T>();
        product_here(Destination { start, row_stride: n }, keep, (a, b), T::ONE);
    });
}
