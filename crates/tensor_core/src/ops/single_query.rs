//! Attention of a single query, as writing with a cache has it, thousands of times in a batch: products of a row with a matrix, so small
//! that a general product would spend most of its time before and after them.

use std::slice;

use pulp::{Simd, WithSimd};

use super::flash::Block;
use super::small_batch::Dots;
use super::softmax::log_softmax_sum;

/// A query of one head, and what it looks at. The logarithm of the softmax's denominator comes of it.
pub(super) struct OneQuery<'a, T> {
    /// Of this query alone.
    pub(super) block: &'a Block<'a>,
    /// Queries, keys and values, wherever they lie.
    pub(super) inputs: [&'a [T]; 3],
    /// One for each key that the block may see.
    pub(super) weights: &'a mut [T],
    /// (D), zeros.
    pub(super) output: &'a mut [T],
}

impl<T: Dots> WithSimd for OneQuery<'_, T> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T {
        let Self { block, inputs: [q, k, v], weights, output } = self;
        let (heads, d, (b, head)) = (block.heads, block.heads.d, block.key_head());
        let token = block.queries.start;
        let q = &q[heads.queries.first(block.b, token, block.head, d)..][..d];
        let scale: T = heads.scale();
        for (column, keys) in block.ranges() {
            for (weight, key) in weights[column..].iter_mut().zip(keys) {
                let k = &k[heads.keys.first(b, key, head, d)..][..d];
                T::dots::<S, 1>(simd, q, k, slice::from_mut(weight));
                *weight *= scale;
            }
        }
        let seen = block.hide(token, weights);
        let log_sum = log_softmax_sum(&mut weights[..seen]);
        for (column, keys) in block.ranges() {
            for (&weight, key) in weights[..seen].iter().skip(column).zip(keys) {
                let v = &v[heads.values.first(b, key, head, d)..][..d];
                output.iter_mut().zip(v).for_each(|(y, &v)| *y += weight * v);
            }
        }
        log_sum
    }
}
