//! Sums and maxima of rows, in several lanes and in a fixed order, and softmax, which needs both.

use super::float::Float;
use super::loops::reduce_rows;
use super::parts::for_each_part;
use super::vectorized::vectorized;

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
fn max<T: Float>(row: &[T]) -> T {
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

/// Log-sum-exp of a row: log Σ exp(x).
#[inline(always)]
pub(crate) fn log_sum_exp<T: Float>(row: &[T]) -> T {
    let max = max(row);
    max + sum([row], |[x]| (x - max).exp()).ln()
}

/// Log-sum-exp of each row of `n` elements.
pub(crate) fn log_sums<T: Float>(x: &[T], n: usize) -> Vec<T> {
    reduce_rows!(x.len() / n, n, |row| log_sum_exp(&x[row * n..][..n]))
}

/// Softmax of a row in place; zeros if the row is −∞ everywhere. Returns the logarithm of the
/// denominator (log-sum-exp), or −∞.
#[inline(always)]
pub(crate) fn softmax_row<T: Float>(row: &mut [T]) -> T {
    let max = max(row);
    if max == T::cast(f64::NEG_INFINITY) {
        // The row is −∞ or NaN everywhere; NaN must not turn into 0.
        let nan = row.iter().find(|x| x.to_f64().is_nan()).copied();
        row.fill(nan.unwrap_or(T::ZERO));
        return nan.unwrap_or(max);
    }
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let total = sum([row], |[x]| x);
    let scale = T::ONE / total;
    row.iter_mut().for_each(|x| *x *= scale);
    max + total.ln()
}

/// Sum of the rows of `n` elements in `x`.
pub(crate) fn sum_of_rows<T: Float>(x: &[T], n: usize) -> Vec<T> {
    let mut total = vec![T::ZERO; n];
    // One strip of columns per task; within it, the rows are added in order.
    const STRIP: usize = 64;
    for_each_part([(&mut total, STRIP)], |i, [total]| {
        vectorized!({
            for row in x.chunks_exact(n) {
                total.iter_mut().zip(&row[i * STRIP..]).for_each(|(total, &x)| *total += x);
            }
        });
    });
    total
}
