//! Memory layout of the heads of queries, keys and values: packed as a linear layer produces them,
//! or in a KV cache.

use std::ops::Range;

use super::cpu::SharedSlice;
use super::float::Float;
use super::matmul::{Destination, Matrix};

/// Queries per block.
const BLOCK_QUERIES: usize = 64;

/// Memory layout of the heads of the queries, of the keys or of the values: head h of token t of
/// row b begins at element start + b · row_stride + t · stride + h · D.
#[derive(Clone, Copy)]
pub(super) struct HeadLayout {
    pub(super) len: usize,
    pub(super) heads: usize,
    pub(super) row_stride: usize,
    pub(super) stride: usize,
    pub(super) start: usize,
}

/// Sizes and memory layouts of an attention.
#[derive(Clone, Copy)]
pub(super) struct AttentionLayout {
    pub(super) b: usize,
    pub(super) d: usize,
    pub(super) queries: HeadLayout,
    pub(super) keys: HeadLayout,
    pub(super) values: HeadLayout,
}

impl HeadLayout {
    /// Contiguous rows of tokens, `stride` elements apart, from element `start` on.
    pub(super) fn packed(len: usize, heads: usize, stride: usize, start: usize) -> Self {
        Self { len, heads, row_stride: len * stride, stride, start }
    }

    /// Index of the first element of a token's head.
    pub(super) fn first(&self, b: usize, token: usize, head: usize, d: usize) -> usize {
        self.start + b * self.row_stride + token * self.stride + head * d
    }

    /// Tokens of one head: (tokens, D).
    pub(super) fn matrix<'a, T>(
        &self,
        values: &'a [T],
        (b, head): (usize, usize),
        tokens: Range<usize>,
        d: usize,
    ) -> Matrix<'a, T> {
        let first = self.first(b, tokens.start, head, d);
        Matrix::strided(&values[first..], tokens.len(), d, self.stride)
    }

    /// Destination of a product for these tokens of one head.
    ///
    /// # Safety
    /// See [`Destination::shared`].
    #[allow(unsafe_code)]
    pub(super) unsafe fn destination<T>(
        &self,
        values: &SharedSlice<'_, T>,
        (b, head): (usize, usize),
        tokens: Range<usize>,
        d: usize,
    ) -> Destination<T> {
        let first = self.first(b, tokens.start, head, d);
        // SAFETY: guaranteed by the caller.
        unsafe { Destination::shared(values, first, tokens.len(), d, self.stride) }
    }
}

impl AttentionLayout {
    /// Query heads per key head.
    pub(super) fn group(&self) -> usize {
        self.queries.heads / self.keys.heads
    }

    /// Scale 1/√D of the scores.
    pub(super) fn scale<T: Float>(&self) -> T {
        T::cast(1. / (self.d as f64).sqrt())
    }

    /// Layout of the result: (B, T, H, D).
    pub(super) fn output(&self) -> HeadLayout {
        let HeadLayout { len, heads, .. } = self.queries;
        HeadLayout::packed(len, heads, heads * self.d, 0)
    }

    /// Number of blocks of queries.
    pub(super) fn blocks(&self) -> usize {
        self.queries.len.div_ceil(BLOCK_QUERIES)
    }

    /// Queries of block `i`.
    pub(super) fn block(&self, i: usize) -> Range<usize> {
        i * BLOCK_QUERIES..self.queries.len.min((i + 1) * BLOCK_QUERIES)
    }
}
