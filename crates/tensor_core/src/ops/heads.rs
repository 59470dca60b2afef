//! Where the heads of queries, keys and values lie in memory: side by side as a linear layer makes them, or in a cache.

use std::ops::Range;

use super::cpu::Shared;
use super::float::Real;
use super::matmul::{Destination, Matrix};

/// Queries that are worked on at a time.
const BLOCK: usize = 64;

/// Where the heads of the queries, of the keys or of the values lie: head h of token t of row b begins at number
/// start + b · row + t · stride + h · D.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub(super) len: usize,
    pub(super) heads: usize,
    pub(super) row: usize,
    pub(super) stride: usize,
    pub(super) start: usize,
}

/// The sizes of an attention.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) b: usize,
    pub(super) d: usize,
    pub(super) queries: Side,
    pub(super) keys: Side,
    pub(super) values: Side,
}

impl Side {
    /// Rows of tokens that follow each other, `stride` numbers apart, from number `start` on.
    pub(super) fn packed(len: usize, heads: usize, stride: usize, start: usize) -> Self {
        Self { len, heads, row: len * stride, stride, start }
    }

    pub(super) fn first(&self, b: usize, token: usize, head: usize, d: usize) -> usize {
        self.start + b * self.row + token * self.stride + head * d
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

    /// Where a product for these tokens of one head goes.
    ///
    /// # Safety
    /// As for [`Destination::shared`].
    #[allow(unsafe_code)]
    pub(super) unsafe fn destination<T>(
        &self,
        values: &Shared<'_, T>,
        (b, head): (usize, usize),
        tokens: Range<usize>,
        d: usize,
    ) -> Destination<T> {
        let first = self.first(b, tokens.start, head, d);
        // SAFETY: the caller's promise.
        unsafe { Destination::shared(values, first, tokens.len(), d, self.stride) }
    }
}

impl Heads {
    /// Query heads that share a key head.
    pub(super) fn group(&self) -> usize {
        self.queries.heads / self.keys.heads
    }

    pub(super) fn scale<T: Real>(&self) -> T {
        T::real(1. / (self.d as f64).sqrt())
    }

    /// The result's layout: (B, T, H, D).
    pub(super) fn output(&self) -> Side {
        let Side { len, heads, .. } = self.queries;
        Side::packed(len, heads, heads * self.d, 0)
    }

    pub(super) fn blocks(&self) -> usize {
        self.queries.len.div_ceil(BLOCK)
    }

    pub(super) fn block(&self, i: usize) -> Range<usize> {
        i * BLOCK..self.queries.len.min((i + 1) * BLOCK)
    }
}
