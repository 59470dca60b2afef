//! x Wᵀ for a few rows of x, as writing a batch of texts has it: W passes once, straight from memory, and each of its rows
//! meets all rows of x.
//!
//! A general product would first lay out W anew, which takes longer than the product. Every number of the result is
//! summed in the same order, however many rows there are: a text comes out the same alone and in a batch.

use pulp::{Arch, Simd, WithSimd};

use super::cpu::for_each_part;
use super::float::Real;
use crate::pool;
use crate::prefetch::prefetch;

/// Most rows of x: beyond, arithmetic takes longer than reading W, and a general product does it better.
pub(crate) const MOST: usize = 16;

/// Rows of W that are worth another thread.
const FEWEST: usize = 16;

/// How far ahead of the arithmetic W is called for, in bytes. Without it, a core that works on eight rows of x waits for
/// W most of the time: the CPU's own foresight ends with what it can look through.
const AHEAD: usize = 1024;

/// `x: (N, K)` times the transpose of `w: (M, K)`, `bias: (M)` added where there is one: (N, M).
pub(crate) fn product<T: Dots>(x: &[T], w: &[T], k: usize, bias: Option<&[T]>) -> Vec<T> {
    let (n, m) = (x.len() / k, w.len() / k);
    let mut columns = vec![T::ZERO; m * n]; // (M, N): each task has numbers of its own
    // Two strips per thread: short ones would interrupt the stream from memory, long ones leave a thread without work.
    let strip = m.div_ceil(2 * pool::threads()).max(FEWEST);
    for_each_part([(&mut columns, strip * n)], |task, [y]| {
        let w = &w[task * strip * k..][..y.len() / n * k];
        Arch::new().dispatch(Strip { x, w, k, y });
    });
    if let Some(bias) = bias {
        let rows = columns.chunks_exact_mut(n).zip(bias);
        rows.for_each(|(row, &bias)| row.iter_mut().for_each(|y| *y += bias));
    }
    match n {
        1 => columns,
        _ => (0..n * m).map(|at| columns[at % m * n + at / m]).collect(),
    }
}

/// The products of all rows of x with the rows of a strip of W.
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
        let n = x.len() / k;
        for (w, y) in w.chunks_exact(k).zip(y.chunks_exact_mut(n)) {
            let mut at = 0;
            while at < n {
                let x = &x[at * k..];
                at += match n - at {
                    8.. => T::dots::<S, 8>(simd, w, x, &mut y[at..]),
                    4.. => T::dots::<S, 4>(simd, w, x, &mut y[at..]),
                    _ => T::dots::<S, 1>(simd, w, x, &mut y[at..]),
                };
            }
        }
    }
}

/// The numbers for which there is an inner loop.
pub(crate) trait Dots: Real {
    /// The products of a row of W with the first N rows of x, into the first N of y; gives N.
    fn dots<S: Simd, const N: usize>(simd: S, w: &[Self], x: &[Self], y: &mut [Self]) -> usize;
}

/// The inner loop on the vectors of whichever CPU it is. No closures: code in them would not be compiled for those.
macro_rules! dots {
    ($real:ty, $split:ident, $splat:ident, $multiply_add:ident, $sum:ident) => {
        impl Dots for $real {
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
                for at in 0..vectors.len() {
                    if N > 1 {
                        prefetch(std::ptr::from_ref(&vectors[at]).cast::<u8>().wrapping_add(AHEAD));
                    }
                    for j in 0..N {
                        sums[j] = simd.$multiply_add(vectors[at], rows[j].0[at], sums[j]);
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
