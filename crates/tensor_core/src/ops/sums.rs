//! Sums and maxima of rows, by many lanes at a time and in a fixed order.

use super::float::Real;

/// Sums `f` over rows side by side, as long as the first, in a fixed order that vector units can follow.
#[inline(always)]
pub(crate) fn sum<T: Real, S: Real, const N: usize>(rows: [&[T]; N], f: impl Fn([T; N]) -> S) -> S {
    const LANES: usize = 32;
    let n = rows[0].len();
    let rows = rows.map(|row| row[..n].as_chunks::<LANES>());
    let mut totals = [S::ZERO; LANES];
    for i in 0..n / LANES {
        let chunks = rows.map(|(chunks, _)| &chunks[i]);
        for lane in 0..LANES {
            totals[lane] += f(chunks.map(|chunk| chunk[lane]));
        }
    }
    let rest: S = (0..n % LANES).map(|i| f(rows.map(|(_, rest)| rest[i]))).sum();
    totals.into_iter().sum::<S>() + rest
}

/// The largest of `row`, −∞ if there is none.
#[inline(always)]
pub(crate) fn largest<T: Real>(row: &[T]) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::real(f64::NEG_INFINITY); LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (most, &x) in lanes.iter_mut().zip(chunk) {
            *most = most.larger(x);
        }
    }
    lanes.iter().chain(rest).fold(T::real(f64::NEG_INFINITY), |most, &x| most.larger(x))
}
