//! 4.5 Histograms with TensorFlow's buckets, whose limits grow by 10 %, from 1e-12 to 1e20 on both
//! sides of zero. The buckets are independent of the values, with the same relative resolution for
//! all sizes.

use std::sync::LazyLock;

use crate::protobuf::Message;

/// Upper limits of all buckets; the last is unbounded. A bucket begins at the limit of the previous
/// one.
static BUCKET_LIMITS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let grow = |limit: &f64| Some(limit * 1.1);
    let mut above: Vec<f64> =
        std::iter::successors(Some(1e-12), grow).take_while(|&limit| limit < 1e20).collect();
    above.push(f64::MAX);
    let below = above.iter().rev().map(|limit| -limit);
    below.chain([0.]).chain(above.iter().copied()).collect()
});

/// `Summary.Value` with the histogram of the finite ones of `values`.
pub(crate) fn histogram(tag: &str, values: &[f32]) -> Message {
    let finite = || values.iter().map(|&value| f64::from(value)).filter(|value| value.is_finite());
    let mut counts = vec![0.; BUCKET_LIMITS.len()];
    for value in finite() {
        counts[BUCKET_LIMITS.partition_point(|&limit| limit <= value)] += 1.;
    }
    let (limits, counts) = merge_empty_buckets(&counts);
    // Without finite values there is no minimum: the fields are zero.
    let (min, max) = (finite().reduce(f64::min), finite().reduce(f64::max));
    let histogram = Message::new()
        .double(1, min.unwrap_or_default())
        .double(2, max.unwrap_or_default())
        .double(3, finite().count() as f64) // num
        .double(4, finite().fold(0., |sum, value| sum + value)) // sum
        .double(5, finite().fold(0., |sum, value| sum + value * value)) // sum_squares
        .doubles(6, &limits) // bucket_limit
        .doubles(7, &counts); // bucket
    Message::new().bytes(1, tag).bytes(5, histogram) // tag, histo
}

/// Limits and counts from the first to the last non-empty bucket, with runs of empty buckets merged
/// into one. Readers use the minimum and maximum as outer limits. At least one bucket remains.
fn merge_empty_buckets(counts: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let first = counts.iter().position(|&count| count > 0.).unwrap_or(counts.len() - 1);
    let last = counts.iter().rposition(|&count| count > 0.).unwrap_or(counts.len() - 1);
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for (&limit, &count) in BUCKET_LIMITS[first..=last].iter().zip(&counts[first..=last]) {
        match buckets.last_mut() {
            Some(last) if count == 0. && last.1 == 0. => last.0 = limit,
            _ => buckets.push((limit, count)),
        }
    }
    buckets.into_iter().unzip()
}
