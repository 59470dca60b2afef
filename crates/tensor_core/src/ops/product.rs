//! Matrix products without copies: any operand may be read transposed, any result written into rows far apart.

use gemm::{Parallelism, gemm};

use super::cpu::Shared;
use super::real::Real;
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
    pub(crate) fn columns(values: &mut [T], first: usize, (rows, columns): (usize, usize)) -> Self {
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
        (rows, columns): (usize, usize),
        row_stride: usize,
    ) -> Self {
        let end = start + rows.saturating_sub(1) * row_stride + columns;
        assert!(end <= values.len, "{rows} rows from {start} on in {}", values.len);
        Self { start: values.pointer(start), row_stride }
    }
}

/// `a · b` on all threads, row by row.
pub(crate) fn product<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>) -> Vec<T> {
    let n = a.rows * b.columns;
    let mut c = Vec::with_capacity(n);
    if a.columns == 0 {
        c.resize(n, T::ZERO);
        return c;
    }
    let start = c.spare_capacity_mut().as_mut_ptr().cast::<T>();
    share(start, T::ZERO, a, b);
    // SAFETY: with `keep` = 0 the product reads nothing and writes all m · n numbers.
    #[allow(unsafe_code)]
    unsafe {
        c.set_len(n);
    }
    c
}

/// `c ← c + a · b` on all threads, `c` row by row.
pub(crate) fn add_product<T: Real>(c: &mut [T], a: Matrix<'_, T>, b: Matrix<'_, T>) {
    assert_eq!(c.len(), a.rows * b.columns, "the size of the result");
    share(c.as_mut_ptr(), T::ONE, a, b);
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

/// Columns of the result that make a task. Narrow strips keep their operand in the core's own cache (5 % over a strip per
/// thread, measured on the products of a training step), and a thread that is held up holds up little.
const STRIP: usize = 64;

/// Hands out strips of the result; where there are fewer than threads, their upper and lower parts.
fn share<T: Real>(c: *mut T, keep: T, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    let start = Start(c);
    let (width, parts) = match m * n * k < WORTH_SHARING {
        true => (n, 1),
        false => (STRIP, pool::threads().div_ceil(n.div_ceil(STRIP))),
    };
    let height = m.div_ceil(parts).next_multiple_of(STRIP);
    let strips = n.div_ceil(width);
    pool::for_each(strips * m.div_ceil(height), |task| {
        let (column, row) = (task % strips * width, task / strips * height);
        let a = a.rows(row, height.min(m - row));
        let b = b.columns(column, width.min(n - column));
        let c = Destination { start: start.at(row * n + column), row_stride: n };
        product_here(c, keep, (a, b), T::ONE);
    });
}

/// The start of a result whose strips are written by several threads.
struct Start<T>(*mut T);

// SAFETY: each task writes its own strip.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}
