//! Matrix products on all threads.

use std::mem::MaybeUninit;

use super::float::Float;
use super::matrix::{Destination, Matrix, matmul_single_threaded};
use super::parts::SharedSlice;
use super::pool;
use super::small_batch::{self, Dots};

/// x Wᵀ + bias for `x: (N, K)` and `w: (M, K)`, appended to `y` as (N, M).
pub(crate) fn append_linear<T: Dots>(
    y: &mut Vec<T>,
    x: &[T],
    w: &[T],
    k: usize,
    bias: Option<&[T]>,
) {
    let (n, m) = (x.len() / k, w.len() / k);
    if n <= small_batch::MAX_ROWS {
        small_batch::append_matmul(y, x, w, k, bias);
    } else {
        append_matmul(y, Matrix::new(x, n, k), Matrix::new(w, m, k).transposed(), bias);
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
    let n = a.rows() * b.columns();
    c.reserve_exact(n);
    parallel_matmul(&mut c.spare_capacity_mut()[..n], a, b, bias);
    // SAFETY: the strips cover the new elements, and each has been written.
    #[allow(unsafe_code)]
    unsafe {
        c.set_len(c.len() + n);
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
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
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
        let (rows, columns) = (height.min(m - first_row), width.min(n - first_column));
        let (a, b) = (a.rows_from(first_row, rows), b.columns_from(first_column, columns));
        // Initialize the rows of the strip here, so that they are in the cache for the product.
        let init = match (bias, k) {
            (None, 0) => Some(None),
            (None, _) => None,
            (Some(bias), _) => Some(Some(&bias[first_column..][..columns])),
        };
        if let Some(numbers) = init {
            for i in 0..rows {
                // SAFETY: this is the only task that works on the strip.
                #[allow(unsafe_code)]
                let c = unsafe { c.range((first_row + i) * n + first_column, columns) };
                match numbers {
                    None => c.fill(MaybeUninit::new(T::ZERO)),
                    Some(numbers) => _ = c.write_copy_of_slice(numbers),
                }
            }
        }
        let beta = if init.is_some() { T::ONE } else { T::ZERO };
        // SAFETY: this is the only task that works on the strip, and `c` was used last above.
        #[allow(unsafe_code)]
        let c = unsafe { Destination::shared(&c, first_row * n + first_column, rows, columns, n) };
        matmul_single_threaded(c.numbers(), beta, a, b, T::ONE);
    });
}
