//! x Wᵀ for a few rows of x, as in batched generation: W is read once, straight from memory, and
//! each of its rows is multiplied by all rows of x.
//!
//! A general product would first repack W, which takes longer than the product. Every element of
//! the result is summed in the same order for any number of rows, so a completion is the same alone
//! and in a batch.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::float::Float;
use super::parts::for_each_part;
use super::pool;
use super::prefetch::prefetch;

/// Maximal rows of x: with more, arithmetic takes longer than reading W, and a general product is
/// faster.
pub(super) const MAX_ROWS: usize = 16;

/// Minimal rows of W per task, so that sharing the work is worthwhile.
const MIN_ROWS_PER_TASK: usize = 16;

/// Prefetch distance in W, in bytes. Without it, a core that works on eight rows of x waits for W
/// most of the time: the hardware prefetcher does not look far enough ahead.
const PREFETCH_BYTES: usize = 1024;

/// `x: (N, K)` times the transpose of `w: (M, K)`, plus `bias: (M)` if there is one: (N, M),
/// appended to `result`.
pub(super) fn append_matmul<T: Dots>(
    result: &mut Vec<T>,
    x: &[T],
    w: &[T],
    k: usize,
    bias: Option<&[T]>,
) {
    append_strips(result, (x.len() / k, w.len() / k), bias, |rows, y| {
        let w = &w[rows.start * k..rows.end * k];
        Arch::new().dispatch(Strip { x, w, k, y });
    });
}

/// x Wᵀ + bias for n rows of x and m rows of W, appended to `result`: `compute` writes the products
/// of all rows of x with a range of rows of W, (rows of W, N).
pub(super) fn append_strips<T: Float>(
    result: &mut Vec<T>,
    (n, m): (usize, usize),
    bias: Option<&[T]>,
    compute: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    if n == 0 {
        return;
    }
    let mut columns = vec![T::ZERO; m * n]; // (M, N): each task writes a contiguous part
    // Two strips per thread: shorter ones would interrupt the stream from memory, longer ones could
    // leave a thread without work.
    let strip = m.div_ceil(2 * pool::threads()).max(MIN_ROWS_PER_TASK);
    for_each_part([(&mut columns, strip * n)], |task, [y]| {
        compute(task * strip..task * strip + y.len() / n, y);
    });
    if let Some(bias) = bias {
        let rows = columns.chunks_exact_mut(n).zip(bias);
        rows.for_each(|(row, &bias)| row.iter_mut().for_each(|y| *y += bias));
    }
    match n {
        1 if result.capacity() == 0 => *result = columns,
        1 => result.extend(columns),
        _ => result.extend((0..n * m).map(|i| columns[i % m * n + i / m])),
    }
}

/// Products of all rows of x with the rows of a strip of W.
struct Strip<'a, T> {
    x: &'a [T],
    w: &'a [T],
    k: usize,
    y: &'a mut [T], // (rows of W, N)
}

impl<T: Dots> WithSimd for Strip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, k, y } = self;
        for (w, y) in w.chunks_exact(k).zip(y.chunks_exact_mut(x.len() / k)) {
            row_dots(simd, w, x, y);
        }
    }
}

/// Dot products of the row `w` of W with all rows of x, one for each element of `y`.
#[inline(always)]
pub(super) fn row_dots<T: Dots, S: Simd>(simd: S, w: &[T], x: &[T], y: &mut [T]) {
    let mut i = 0;
    while i < y.len() {
        let x = &x[i * w.len()..];
        i += match y.len() - i {
            8.. => T::dots::<S, 8>(simd, w, x, &mut y[i..]),
            4.. => T::dots::<S, 4>(simd, w, x, &mut y[i..]),
            _ => T::dots::<S, 1>(simd, w, x, &mut y[i..]),
        };
    }
}

/// Number type with a SIMD inner loop.
pub(crate) trait Dots: Float {
    /// Dot products of a row of W with the first N rows of x, written to the first N elements of y.
    /// Returns N.
    fn dots<S: Simd, const N: usize>(simd: S, w: &[Self], x: &[Self], y: &mut [Self]) -> usize;
}

/// Inner loop on the vectors of the current CPU. It has no closures: their code would not be
/// compiled for those vectors.
macro_rules! dots {
    ($float:ty, $split:ident, $splat:ident, $multiply_add:ident, $sum:ident) => {
        impl Dots for $float {
            #[inline(always)]
            fn dots<S: Simd, const N: usize>(
                simd: S,
                w: &[Self],
                x: &[Self],
                y: &mut [Self],
            ) -> usize {
                let (vectors, rest) = S::$split(w);
                let mut rows = [(vectors, rest); N];
                for (row, x) in rows.iter_mut().zip(x.chunks_exact(w.len())) {
                    *row = S::$split(x);
                }
                let mut sums = [simd.$splat(0.); N];
                for i in 0..vectors.len() {
                    if N > 1 {
                        prefetch(
                            std::ptr::from_ref(&vectors[i])
                                .cast::<u8>()
                                .wrapping_add(PREFETCH_BYTES),
                        );
                    }
                    for j in 0..N {
                        sums[j] = simd.$multiply_add(vectors[i], rows[j].0[i], sums[j]);
                    }
                }
                for j in 0..N {
                    y[j] = simd.$sum(sums[j]);
                    for (&w, &x) in rest.iter().zip(rows[j].1) {
                        y[j] += w * x;
                    }
                }
                N
            }
        }
    };
}
dots!(f32, as_simd_f32s, splat_f32s, mul_add_e_f32s, reduce_sum_f32s);
dots!(f64, as_simd_f64s, splat_f64s, mul_add_e_f64s, reduce_sum_f64s);
