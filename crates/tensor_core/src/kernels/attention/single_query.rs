//! Attention of a single query, as in generation with a KV cache. It runs thousands of times per
//! batch, and its products of a row with a matrix are so small that a general product would spend
//! most of its time on setup.

use std::slice;

use pulp::{Simd, WithSimd};

use super::block::Block;
use crate::kernels::reductions::softmax_row;
use crate::kernels::small_batch::Dots;

/// One query of one head. The output is the logarithm of the softmax's denominator (log-sum-exp).
pub(super) struct SingleQuery<'a, T> {
    /// Block of this query alone.
    pub(super) block: &'a Block<'a, T>,
    /// One weight for each key of the block.
    pub(super) weights: &'a mut [T],
    /// Output (D), initially zeros.
    pub(super) output: &'a mut [T],
}

impl<T: Dots> WithSimd for SingleQuery<'_, T> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T {
        let Self { block, weights, output } = self;
        let &Block { inputs, b, head, key_head, .. } = block;
        let token = block.queries.start;
        let q = inputs.queries.row(b, token, head);
        let scale = inputs.scale();
        for (column, keys) in block.ranges() {
            for (weight, key) in weights[column..].iter_mut().zip(keys) {
                let k = inputs.keys.row(b, key, key_head);
                T::dots::<S, 1>(simd, q, k, slice::from_mut(weight));
                *weight *= scale;
            }
        }
        let visible = block.apply_mask(token, weights);
        let log_sum = softmax_row(&mut weights[..visible]);
        for (column, keys) in block.ranges() {
            for (&weight, key) in weights[..visible].iter().skip(column).zip(keys) {
                let v = inputs.values.row(b, key, key_head);
                output.iter_mut().zip(v).for_each(|(y, &v)| *y += weight * v);
            }
        }
        log_sum
    }
}
