//! Block of queries of one head, the unit of work of attention.

use std::ops::Range;

use super::layout::{Heads, Inputs};
use crate::kernels::float::Float;
use crate::kernels::matrix::{Destination, Matrix, matmul_single_threaded};

/// Block of queries of one head, and the keys that they may attend to.
pub(super) struct Block<'a, T> {
    pub(super) inputs: &'a Inputs<'a, T>,
    pub(super) b: usize,
    pub(super) head: usize,
    /// Head of the keys and values.
    pub(super) key_head: usize,
    pub(super) queries: Range<usize>,
    keys: [Range<usize>; 2],
}

impl<'a, T: Float> Block<'a, T> {
    /// Block `i` of a head.
    pub(super) fn new(inputs: &'a Inputs<'a, T>, b: usize, head: usize, i: usize) -> Self {
        let queries = inputs.block(i);
        let keys = inputs.mask.ranges(b, queries.clone());
        Self { inputs, b, head, key_head: head / inputs.group(), queries, keys }
    }

    /// Number of keys of the block, which is the width of its weights.
    pub(super) fn width(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }

    /// Ranges of keys, each with the column of the weights at which it begins.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [sinks, near] = self.keys.clone();
        let column = sinks.len();
        [(0, sinks), (column, near)].into_iter().filter(|(_, keys)| !keys.is_empty())
    }

    /// scale · a · bᵀ for the block's rows of `a` and its keys' rows of `b`, written to `out:
    /// (queries, width)`.
    pub(super) fn multiply_by_keys(
        &self,
        a: Matrix<'_, T>,
        b: &Heads<'_, T>,
        out: &mut [T],
        scale: T,
    ) {
        let width = self.width();
        for (column, keys) in self.ranges() {
            let b = b.matrix(self.b, self.key_head, keys).transposed();
            let out = Destination::columns(out, column, self.queries.len(), width);
            matmul_single_threaded(out, T::ZERO, a, b, scale);
        }
    }

    /// Masks the row of scores of `query`; returns the number of columns before those that are all
    /// masked.
    #[inline(always)]
    pub(super) fn apply_mask(&self, query: usize, scores: &mut [T]) -> usize {
        let mut end = 0;
        for (column, keys) in self.ranges() {
            let scores = &mut scores[column..column + keys.len()];
            end = column + self.inputs.mask.apply(self.b, query, keys, scores);
        }
        end
    }
}
