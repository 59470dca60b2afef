//! The loops of attention, for queries, keys and values anywhere in memory.
//!
//! The weights of a block of queries are computed, used and forgotten, so memory grows with T and not with T²; keys that
//! no query of the block sees are never touched. The backward pass computes the weights again from the saved log-sum of
//! each row (FlashAttention, Dao et al., <https://arxiv.org/abs/2205.14135>).

use std::ops::Range;

use pulp::Arch;

use super::cpu::{Shared, vectorized, with_scratch};
use super::float::Real;
use super::heads::{Heads, Side};
use super::mask::AttentionMask;
use super::matmul::{Destination, Matrix, product_here};
use super::single_query::OneQuery;
use super::small_batch::Dots;
use super::softmax::log_softmax_sum;
use super::sums::sum;
use super::uninit::zeros;
use crate::pool;

/// The queries of one head that are worked on, and the keys that they may see.
pub(super) struct Block<'a> {
    pub(super) heads: &'a Heads,
    mask: &'a AttentionMask,
    pub(super) b: usize,
    pub(super) head: usize,
    pub(super) queries: Range<usize>,
    keys: [Range<usize>; 2],
}

impl<'a> Block<'a> {
    fn new(heads: &'a Heads, mask: &'a AttentionMask, b: usize, head: usize, i: usize) -> Self {
        let queries = heads.block(i);
        let keys = mask.ranges(b, queries.clone(), heads.keys.len);
        Self { heads, mask, b, head, queries, keys }
    }

    /// Keys that the block may see, which is the width of its weights.
    fn width(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }

    /// The ranges of keys, each with the column of the weights where it begins.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [sinks, near] = self.keys.clone();
        let column = sinks.len();
        [(0, sinks), (column, near)].into_iter().filter(|(_, keys)| !keys.is_empty())
    }

    /// The head of the keys and values, by row of the batch.
    pub(super) fn key_head(&self) -> (usize, usize) {
        (self.b, self.head / self.heads.group())
    }

    /// scale · a · bᵀ for the block's rows of `a` and its keys' rows of `b`, into (queries, width).
    fn products<T: Real>(
        &self,
        a: Matrix<'_, T>,
        (b, side): (&[T], &Side),
        into: &mut [T],
        scale: T,
    ) {
        let width = self.width();
        for (column, keys) in self.ranges() {
            let b = side.matrix(b, self.key_head(), keys, self.heads.d).transposed();
            let into = Destination::columns(into, column, self.queries.len(), width);
            product_here(into, T::ZERO, (a, b), scale);
        }
    }

    /// Hides what the `query` does not see in its row of scores; gives the number of columns before those that
    /// are hidden altogether.
    #[inline(always)]
    pub(super) fn hide<T: Real>(&self, query: usize, scores: &mut [T]) -> usize {
        let mut end = 0;
        for (column, keys) in self.ranges() {
            let scores = &mut scores[column..column + keys.len()];
            end = column + self.mask.hide((self.b, query), keys, scores);
        }
        end
    }
}

/// The outputs (B, T, H, D), and the logarithm of each softmax's denominator by (B, H, T).
pub(super) fn forward<T: Dots>(
    [q, k, v]: [&[T]; 3],
    heads: &Heads,
    mask: &AttentionMask,
) -> (Vec<T>, Vec<T>) {
    let Heads { b, d, queries: Side { len: t, heads: h, .. }, .. } = *heads;
    let mut output = zeros(b * t * h * d);
    let mut log_sums = vec![T::ZERO; b * h * t];
    let (shared_output, shared_log_sums) = (Shared::new(&mut output), Shared::new(&mut log_sums));
    pool::for_each(b * h * heads.blocks(), |task| {
        let (row_and_head, i) = (task / heads.blocks(), heads.blocks() - 1 - task % heads.blocks());
        let (b, head) = (row_and_head / h, row_and_head % h);
        let block = Block::new(heads, mask, b, head, i);
        let (rows, width) = (block.queries.len(), block.width());
        // SAFETY: the only task with this row, head and block of queries.
        #[allow(unsafe_code)]
        let log_sums =
            unsafe { shared_log_sums.range(row_and_head * t + block.queries.start, rows) };
        if width == 0 {
            return log_sums.fill(T::real(f64::NEG_INFINITY)); // the outputs are 0 already
        }
        if rows == 1 {
            let at = heads.output().first(b, block.queries.start, head, d);
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let output = unsafe { shared_output.range(at, d) };
            let one = |weights: &mut [T]| {
                Arch::new().dispatch(OneQuery { block: &block, inputs: [q, k, v], weights, output })
            };
            log_sums[0] = with_scratch(width, one);
            return;
        }
        with_scratch(rows * width, |weights| {
            let q = heads.queries.matrix(q, (b, head), block.queries.clone(), d);
            block.products(q, (k, &heads.keys), weights, heads.scale());
            vectorized!({
                let rows = weights.chunks_exact_mut(width).zip(log_sums);
                for ((row, log_sum), query) in rows.zip(block.queries.clone()) {
                    let seen = block.hide(query, row);
                    let (seen, unseen) = row.split_at_mut(seen);
                    *log_sum = log_softmax_sum(seen);
                    unseen.fill(T::ZERO);
                }
            });
            for (column, keys) in block.ranges() {
                let weights = Matrix::strided(&weights[column..], rows, keys.len(), width);
                let v = heads.values.matrix(v, block.key_head(), keys, d);
                let tokens = block.queries.clone();
                // SAFETY: as above.
                #[allow(unsafe_code)]
                let output =
                    unsafe { heads.output().destination(&shared_output, (b, head), tokens, d) };
                product_here(output, T::ONE, (weights, v), T::ONE);
            }
        });
    });
    (output, log_sums)
}

/// What the backward pass takes from the forward pass.
pub(super) struct Outcome<'a, T> {
    /// (B, T, H, D)
    pub(super) output: &'a [T],
    /// The gradient of the output, laid out alike.
    pub(super) grad: &'a [T],
    /// (B, H, T)
    pub(super) log_sums: &'a [T],
}

/// Adds the gradients of queries, keys and values to `grads`, laid out as the inputs are.
pub(super) fn backward<T: Real>(
    inputs: [&[T]; 3],
    outcome: &Outcome<'_, T>,
    grads: [&Shared<'_, T>; 3],
    heads: &Heads,
    mask: &AttentionMask,
) {
    let kv = heads.keys.heads;
    pool::for_each(heads.b * kv, |task| {
        let (b, key_head) = (task / kv, task % kv);
        for head in key_head * heads.group()..(key_head + 1) * heads.group() {
            for i in 0..heads.blocks() {
                let block = Block::new(heads, mask, b, head, i);
                if block.width() > 0 {
                    backward_block(&block, inputs, outcome, grads);
                }
            }
        }
    });
}

/// The share of one block in the gradients. Its task is the only one with this row and key head.
fn backward_block<T: Real>(
    block: &Block<'_>,
    [q, k, v]: [&[T]; 3],
    outcome: &Outcome<'_, T>,
    [grad_q, grad_k, grad_v]: [&Shared<'_, T>; 3],
) {
    let &Block { heads, b, head, ref queries, .. } = block;
    let (d, rows, width) = (heads.d, queries.len(), block.width());
    let (query_head, key_head) = ((b, head), block.key_head());
    let scale = heads.scale();
    let q = heads.queries.matrix(q, query_head, queries.clone(), d);
    let grad = heads.output().matrix(outcome.grad, query_head, queries.clone(), d);
    with_scratch(2 * rows * width, |scratch| {
        let (weights, grad_scores) = scratch.split_at_mut(rows * width);
        block.products(q, (k, &heads.keys), weights, scale);
        block.products(grad, (v, &heads.values), grad_scores, T::ONE);
        vectorized!({
            let each = weights.chunks_exact_mut(width).zip(grad_scores.chunks_exact_mut(width));
            for ((weights, grad_scores), query) in each.zip(queries.clone()) {
                scores_to_gradients(block, outcome, query, weights, grad_scores);
            }
        });
        for (column, keys) in block.ranges() {
            let part = |x| Matrix::strided(x, rows, keys.len(), width);
            let (weights, grad_scores) = (part(&weights[column..]), part(&grad_scores[column..]));
            let k = heads.keys.matrix(k, key_head, keys.clone(), d);
            // SAFETY: no other task has this row of the batch and this key head, nor its query heads.
            #[allow(unsafe_code)]
            let (grad_q, grad_k, grad_v) = unsafe {
                (
                    heads.queries.destination(grad_q, query_head, queries.clone(), d),
                    heads.keys.destination(grad_k, key_head, keys.clone(), d),
                    heads.values.destination(grad_v, key_head, keys, d),
                )
            };
            product_here(grad_v, T::ONE, (weights.transposed(), grad), T::ONE);
            product_here(grad_k, T::ONE, (grad_scores.transposed(), q), scale);
            product_here(grad_q, T::ONE, (grad_scores, k), scale);
        }
    });
}

/// Turns a row of scores into weights, and the gradient of the weights into that of the scores.
#[inline(always)]
fn scores_to_gradients<T: Real>(
    block: &Block<'_>,
    outcome: &Outcome<'_, T>,
    query: usize,
    weights: &mut [T],
    grad_scores: &mut [T],
) {
    let &Block { heads, b, head, .. } = block;
    let Side { len: t, heads: h, .. } = heads.queries;
    let log_sum = outcome.log_sums[(b * h + head) * t + query];
    let hidden = T::real(f64::NEG_INFINITY);
    let seen = if log_sum == hidden { 0 } else { block.hide(query, weights) };
    let at = heads.output().first(b, query, head, heads.d);
    let (grad, output) = (&outcome.grad[at..][..heads.d], &outcome.output[at..][..heads.d]);
    let mean = sum([grad, output], |[g, y]| g * y); // what softmax takes off each row
    let (weights, unseen) = weights.split_at_mut(seen);
    unseen.fill(T::ZERO);
    let (grad_scores, unseen) = grad_scores.split_at_mut(seen);
    unseen.fill(T::ZERO);
    for (weight, grad) in weights.iter_mut().zip(grad_scores) {
        *weight = (*weight - log_sum).exp();
        *grad = *weight * (*grad - mean);
    }
}
