//! Attention loops, for queries, keys and values in any memory layout.
//!
//! The weights of a block of queries are computed, used and discarded, so memory grows with T and
//! not with T²; keys that are masked for the whole block are never read. The backward pass
//! recomputes the weights from the saved log-sum-exp of each row (FlashAttention, Dao et al.,
//! <https://arxiv.org/abs/2205.14135>).

use std::ops::Range;

use pulp::Arch;

use super::cpu::{SharedSlice, vectorized, with_scratch};
use super::float::Float;
use super::heads::{AttentionLayout, HeadLayout};
use super::mask::AttentionMask;
use super::matmul::{Destination, Matrix, matmul_single_threaded};
use super::single_query::SingleQuery;
use super::small_batch::Dots;
use super::softmax::log_softmax_sum;
use super::sums::sum;
use super::uninit::zeros;
use crate::pool;

/// Block of queries of one head, and the keys that they may attend to.
pub(super) struct Block<'a> {
    pub(super) layout: &'a AttentionLayout,
    mask: &'a AttentionMask,
    pub(super) b: usize,
    pub(super) head: usize,
    pub(super) queries: Range<usize>,
    keys: [Range<usize>; 2],
}

impl<'a> Block<'a> {
    fn new(
        layout: &'a AttentionLayout,
        mask: &'a AttentionMask,
        b: usize,
        head: usize,
        i: usize,
    ) -> Self {
        let queries = layout.block(i);
        let keys = mask.ranges(b, queries.clone(), layout.keys.len);
        Self { layout, mask, b, head, queries, keys }
    }

    /// Number of keys of the block, which is the width of its weights.
    fn width(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }

    /// Ranges of keys, each with the column of the weights at which it begins.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [sinks, near] = self.keys.clone();
        let column = sinks.len();
        [(0, sinks), (column, near)].into_iter().filter(|(_, keys)| !keys.is_empty())
    }

    /// Row of the batch and head of the keys and values.
    pub(super) fn key_head(&self) -> (usize, usize) {
        (self.b, self.head / self.layout.group())
    }

    /// scale · a · bᵀ for the block's rows of `a` and its keys' rows of `b`, written to `out:
    /// (queries, width)`.
    fn multiply_by_keys<T: Float>(
        &self,
        a: Matrix<'_, T>,
        (b, layout): (&[T], &HeadLayout),
        out: &mut [T],
        scale: T,
    ) {
        let width = self.width();
        for (column, keys) in self.ranges() {
            let b = layout.matrix(b, self.key_head(), keys, self.layout.d).transposed();
            let out = Destination::columns(out, column, self.queries.len(), width);
            matmul_single_threaded(out, T::ZERO, (a, b), scale);
        }
    }

    /// Masks the row of scores of `query`; returns the number of columns before those that are all
    /// masked.
    #[inline(always)]
    pub(super) fn apply_mask<T: Float>(&self, query: usize, scores: &mut [T]) -> usize {
        let mut end = 0;
        for (column, keys) in self.ranges() {
            let scores = &mut scores[column..column + keys.len()];
            end = column + self.mask.apply((self.b, query), keys, scores);
        }
        end
    }
}

/// Outputs (B, T, H, D), and the log-sum-exp of each row of scores, (B, H, T).
pub(super) fn forward<T: Dots>(
    [q, k, v]: [&[T]; 3],
    layout: &AttentionLayout,
    mask: &AttentionMask,
) -> (Vec<T>, Vec<T>) {
    let AttentionLayout { b, d, queries: HeadLayout { len: t, heads: h, .. }, .. } = *layout;
    let mut output = zeros(b * t * h * d);
    let mut log_sums = vec![T::ZERO; b * h * t];
    let (shared_output, shared_log_sums) =
        (SharedSlice::new(&mut output), SharedSlice::new(&mut log_sums));
    pool::for_each(b * h * layout.blocks(), |task| {
        let (row_and_head, i) =
            (task / layout.blocks(), layout.blocks() - 1 - task % layout.blocks());
        let (b, head) = (row_and_head / h, row_and_head % h);
        let block = Block::new(layout, mask, b, head, i);
        let (rows, width) = (block.queries.len(), block.width());
        // SAFETY: this is the only task with this row, head and block of queries.
        #[allow(unsafe_code)]
        let log_sums =
            unsafe { shared_log_sums.range(row_and_head * t + block.queries.start, rows) };
        if width == 0 {
            return log_sums.fill(T::cast(f64::NEG_INFINITY)); // the outputs are 0 already
        }
        if rows == 1 {
            let at = layout.output().first(b, block.queries.start, head, d);
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let output = unsafe { shared_output.range(at, d) };
            let query = |weights: &mut [T]| {
                Arch::new().dispatch(SingleQuery {
                    block: &block,
                    inputs: [q, k, v],
                    weights,
                    output,
                })
            };
            log_sums[0] = with_scratch(width, query);
            return;
        }
        with_scratch(rows * width, |weights| {
            let q = layout.queries.matrix(q, (b, head), block.queries.clone(), d);
            block.multiply_by_keys(q, (k, &layout.keys), weights, layout.scale());
            vectorized!({
                let rows = weights.chunks_exact_mut(width).zip(log_sums);
                for ((row, log_sum), query) in rows.zip(block.queries.clone()) {
                    let visible = block.apply_mask(query, row);
                    let (visible, masked) = row.split_at_mut(visible);
                    *log_sum = log_softmax_sum(visible);
                    masked.fill(T::ZERO);
                }
            });
            for (column, keys) in block.ranges() {
                let weights = Matrix::strided(&weights[column..], rows, keys.len(), width);
                let v = layout.values.matrix(v, block.key_head(), keys, d);
                let tokens = block.queries.clone();
                // SAFETY: as above.
                #[allow(unsafe_code)]
                let output =
                    unsafe { layout.output().destination(&shared_output, (b, head), tokens, d) };
                matmul_single_threaded(output, T::ONE, (weights, v), T::ONE);
            }
        });
    });
    (output, log_sums)
}

/// Inputs of the backward pass besides queries, keys and values.
pub(super) struct BackwardInputs<'a, T> {
    /// Output (B, T, H, D).
    pub(super) output: &'a [T],
    /// Gradient of the output, in the same layout.
    pub(super) grad: &'a [T],
    /// Log-sum-exp of each row of scores, (B, H, T).
    pub(super) log_sums: &'a [T],
}

/// Adds the gradients of queries, keys and values to `grads`, laid out as the inputs are.
pub(super) fn backward<T: Float>(
    inputs: [&[T]; 3],
    saved: &BackwardInputs<'_, T>,
    grads: [&SharedSlice<'_, T>; 3],
    layout: &AttentionLayout,
    mask: &AttentionMask,
) {
    let kv = layout.keys.heads;
    pool::for_each(layout.b * kv, |task| {
        let (b, key_head) = (task / kv, task % kv);
        for head in key_head * layout.group()..(key_head + 1) * layout.group() {
            for i in 0..layout.blocks() {
                let block = Block::new(layout, mask, b, head, i);
                if block.width() > 0 {
                    backward_block(&block, inputs, saved, grads);
                }
            }
        }
    });
}

/// Adds the gradients of one block. No other task has this row and key head.
fn backward_block<T: Float>(
    block: &Block<'_>,
    [q, k, v]: [&[T]; 3],
    saved: &BackwardInputs<'_, T>,
    [grad_q, grad_k, grad_v]: [&SharedSlice<'_, T>; 3],
) {
    let &Block { layout, b, head, ref queries, .. } = block;
    let (d, rows, width) = (layout.d, queries.len(), block.width());
    let (query_head, key_head) = ((b, head), block.key_head());
    let scale = layout.scale();
    let q = layout.queries.matrix(q, query_head, queries.clone(), d);
    let grad = layout.output().matrix(saved.grad, query_head, queries.clone(), d);
    with_scratch(2 * rows * width, |scratch| {
        let (weights, grad_scores) = scratch.split_at_mut(rows * width);
        block.multiply_by_keys(q, (k, &layout.keys), weights, scale);
        block.multiply_by_keys(grad, (v, &layout.values), grad_scores, T::ONE);
        vectorized!({
            let each = weights.chunks_exact_mut(width).zip(grad_scores.chunks_exact_mut(width));
            for ((weights, grad_scores), query) in each.zip(queries.clone()) {
                scores_to_gradients(block, saved, query, weights, grad_scores);
            }
        });
        for (column, keys) in block.ranges() {
            let part = |x| Matrix::strided(x, rows, keys.len(), width);
            let (weights, grad_scores) = (part(&weights[column..]), part(&grad_scores[column..]));
            let k = layout.keys.matrix(k, key_head, keys.clone(), d);
            // SAFETY: no other task has this row of the batch and this key head, nor its query
            // heads.
            #[allow(unsafe_code)]
            let (grad_q, grad_k, grad_v) = unsafe {
                (
                    layout.queries.destination(grad_q, query_head, queries.clone(), d),
                    layout.keys.destination(grad_k, key_head, keys.clone(), d),
                    layout.values.destination(grad_v, key_head, keys, d),
                )
            };
            matmul_single_threaded(grad_v, T::ONE, (weights.transposed(), grad), T::ONE);
            matmul_single_threaded(grad_k, T::ONE, (grad_scores.transposed(), q), scale);
            matmul_single_threaded(grad_q, T::ONE, (grad_scores, k), scale);
        }
    });
}

/// Turns a row of scores into weights, and the gradient of the weights into that of the scores.
#[inline(always)]
fn scores_to_gradients<T: Float>(
    block: &Block<'_>,
    saved: &BackwardInputs<'_, T>,
    query: usize,
    weights: &mut [T],
    grad_scores: &mut [T],
) {
    let &Block { layout, b, head, .. } = block;
    let HeadLayout { len: t, heads: h, .. } = layout.queries;
    let log_sum = saved.log_sums[(b * h + head) * t + query];
    let hidden = T::cast(f64::NEG_INFINITY);
    let visible = if log_sum == hidden { 0 } else { block.apply_mask(query, weights) };
    let at = layout.output().first(b, query, head, layout.d);
    let (grad, output) = (&saved.grad[at..][..layout.d], &saved.output[at..][..layout.d]);
    let mean = sum([grad, output], |[g, y]| g * y); // subtracted in the gradient of softmax
    let (weights, masked) = weights.split_at_mut(visible);
    masked.fill(T::ZERO);
    let (grad_scores, masked) = grad_scores.split_at_mut(visible);
    masked.fill(T::ZERO);
    for (weight, grad) in weights.iter_mut().zip(grad_scores) {
        *weight = (*weight - log_sum).exp();
        *grad = *weight * (*grad - mean);
    }
}
