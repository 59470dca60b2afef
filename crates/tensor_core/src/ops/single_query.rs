//! Attention of a single query, as in generation with a KV cache. It runs thousands of times per
//! batch, and its products of a row with a matrix are so small that a general product would spend
//! most of its time on setup.

use std::slice;

use pulp::{Simd, WithSimd};

use super::flash::Block;
use super::small_batch::Dots;
use super::softmax::log_softmax_sum;

/// One query of one head. The output is the logarithm of the softmax's denominator (log-sum-exp).
pub(super) struct SingleQuery<'a, T> {
    /// Block of this query alone.
    pub(super) block: &'a Block<'a>,
    /// Queries, keys and values, in the layouts of the block.
    pub(super) inputs: [&'a [T]; 3],
    /// One weight for each key of the block.
    pub(super) weights: &'a mut [T],
    /// Output (D), initially zeros.
    pub(super) output: &'a mut [T],
}

impl<T: Dots> WithSimd for SingleQuery<'_, T> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T {
        let Self { block, inputs: [q, k, v], weights, output } = self;
        let (layout, d, (b, head)) = (block.layout, block.layout.d, block.key_head());
        let token = block.queries.start;
        let q = &q[layout.queries.first(block.b, token, block.head, d)..][..d];
        let scale: T = layout.scale();
        for (column, keys) in block.ranges() {
            for (weight, key) in weights[column..].iter_mut().zip(keys) {
                let k = &k[layout.keys.first(b, key, head, d)..][..d];
                T::dots::<S, 1>(simd, q, k, slice::from_mut(weight));
                *weight *= scale;
            }
        }
        let visible = block.apply_mask(token, weights);
        let log_sum = log_softmax_sum(&mut weights[..visible]);
        for (column, keys) in block.ranges() {
            for (&weight, key) in weights[..visible].iter().skip(column).zip(keys) {
                let v = &v[layout.values.first(b, key, head, d)..][..d];
                output.iter_mut().zip(v).for_each(|(y, &v)| *y += weight * v);
            }
        }
        log_sum
    }
}
