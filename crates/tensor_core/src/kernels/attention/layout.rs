//! Memory layout of the heads of queries, keys and values: packed as a linear layer produces them,
//! or in a KV cache.

use std::ops::Range;

use super::mask::Mask;
use crate::kernels::float::Float;
use crate::kernels::matrix::{Destination, Matrix};
use crate::kernels::parts::SharedSlice;

/// Queries per block.
const BLOCK_QUERIES: usize = 64;

/// Memory layout of the heads of the queries, of the keys or of the values: head h of token t of
/// row b begins at element start + b · row_stride + t · stride + h · D.
#[derive(Clone, Copy)]
pub(crate) struct HeadLayout {
    /// Tokens per row.
    pub(crate) len: usize,
    /// Heads per token.
    pub(crate) heads: usize,
    /// Elements per head, D.
    pub(crate) d: usize,
    /// Distance between rows.
    pub(crate) row_stride: usize,
    /// Distance between tokens.
    pub(crate) stride: usize,
    /// First element.
    pub(crate) start: usize,
}

impl HeadLayout {
    /// Contiguous (.., len, heads, d).
    pub(crate) fn contiguous(len: usize, heads: usize, d: usize) -> Self {
        let stride = heads * d;
        Self { len, heads, d, row_stride: len * stride, stride, start: 0 }
    }

    /// Index of the first element of a token's head.
    pub(super) fn first(&self, b: usize, token: usize, head: usize) -> usize {
        self.start + b * self.row_stride + token * self.stride + head * self.d
    }

    /// Destination of a product for these tokens of one head.
    ///
    /// # Safety
    /// See [`Destination::shared`].
    #[allow(unsafe_code)]
    pub(super) unsafe fn destination<T>(
        &self,
        elements: &SharedSlice<'_, T>,
        b: usize,
        head: usize,
        tokens: Range<usize>,
    ) -> Destination<T> {
        let first = self.first(b, tokens.start, head);
        // SAFETY: guaranteed by the caller.
        unsafe { Destination::shared(elements, first, tokens.len(), self.d, self.stride) }
    }
}

/// Heads of the queries, of the keys or of the values.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub(crate) elements: &'a [T],
    pub(crate) layout: HeadLayout,
}

impl<'a, T> Heads<'a, T> {
    /// Head of a token: (D).
    pub(super) fn row(&self, b: usize, token: usize, head: usize) -> &'a [T] {
        &self.elements[self.layout.first(b, token, head)..][..self.layout.d]
    }

    /// Tokens of one head: (tokens, D).
    pub(super) fn matrix(&self, b: usize, head: usize, tokens: Range<usize>) -> Matrix<'a, T> {
        let HeadLayout { d, stride, .. } = self.layout;
        let first = self.layout.first(b, tokens.start, head);
        Matrix::strided(&self.elements[first..], tokens.len(), d, stride)
    }
}

/// Inputs of an attention of B rows.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub(crate) b: usize,
    pub(crate) queries: Heads<'a, T>,
    pub(crate) keys: Heads<'a, T>,
    pub(crate) values: Heads<'a, T>,
    pub(crate) mask: Mask<'a>,
}

impl<T: Float> Inputs<'_, T> {
    /// Query heads per key head.
    pub(super) fn group(&self) -> usize {
        self.queries.layout.heads / self.keys.layout.heads
    }

    /// Scale 1/√D of the scores.
    pub(super) fn scale(&self) -> T {
        T::cast(1. / (self.queries.layout.d as f64).sqrt())
    }

    /// Layout of the result: (B, T, H, D).
    pub(super) fn output(&self) -> HeadLayout {
        let HeadLayout { len, heads, d, .. } = self.queries.layout;
        HeadLayout::contiguous(len, heads, d)
    }

    /// Number of blocks of queries.
    pub(super) fn blocks(&self) -> usize {
        self.queries.layout.len.div_ceil(BLOCK_QUERIES)
    }

    /// Queries of block `i`.
    pub(super) fn block(&self, i: usize) -> Range<usize> {
        i * BLOCK_QUERIES..self.queries.layout.len.min((i + 1) * BLOCK_QUERIES)
    }
}
