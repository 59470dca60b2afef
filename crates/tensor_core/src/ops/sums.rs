//! Sums and maxima of rows, in several lanes and in a fixed order.

use super::float::Float;

/// Sum of `f` over rows of equal length (that of the first), in a fixed order that vectorizes.
#[inline(always)]
pub(crate) fn sum<T: Float, S: Float, const N: usize>(
    rows: [&[T]; N],
    f: impl Fn([T; N]) -> S,
) -> S {
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

/// Maximum of `row`, −∞ if it is empty.
#[inline(always)]
pub(crate) fn max<T: Float>(row: &[T]) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::cast(f64::NEG_INFINITY); LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (max, &x) in lanes.iter_mut().zip(chunk) {
            *max = max.larger(x);
        }
    }
    lanes.iter().chain(rest).fold(T::cast(f64::NEG_INFINITY), |max, &x| max.larger(x))
}
