//! Backward pass of attention.

use super::block::Block;
use super::layout::{HeadLayout, Heads, Inputs};
use crate::kernels::float::{Float, with_scratch};
use crate::kernels::matrix::{Matrix, matmul_single_threaded};
use crate::kernels::parts::SharedSlice;
use crate::kernels::pool;
use crate::kernels::reductions::sum;
use crate::kernels::vectorized::vectorized;

/// Result of the forward pass, and its gradient.
pub(crate) struct Saved<'a, T> {
    /// Output (B, T, H, D).
    pub(crate) output: &'a [T],
    /// Gradient of the output, in the same layout.
    pub(crate) grad: &'a [T],
    /// Log-sum-exp of each row of scores, (B, H, T).
    pub(crate) log_sums: &'a [T],
}

/// Gradients of queries, keys and values, laid out as the inputs are. They may share their memory.
#[derive(Clone, Copy)]
pub(crate) struct Grads<'a, T> {
    pub(crate) queries: &'a SharedSlice<'a, T>,
    pub(crate) keys: &'a SharedSlice<'a, T>,
    pub(crate) values: &'a SharedSlice<'a, T>,
}

/// Adds the gradients of queries, keys and values to `grads`.
pub(crate) fn backward<T: Float>(
    inputs: &Inputs<'_, T>,
    saved: &Saved<'_, T>,
    grads: Grads<'_, T>,
) {
    let (kv, group) = (inputs.keys.layout.heads, inputs.group());
    pool::for_each(inputs.b * kv, |task| {
        let (b, key_head) = (task / kv, task % kv);
        for head in key_head * group..(key_head + 1) * group {
            for i in 0..inputs.blocks() {
                let block = Block::new(inputs, b, head, i);
                if block.width() > 0 {
                    // SAFETY: no other task has this row and key head.
                    #[allow(unsafe_code)]
                    unsafe {
                        backward_block(&block, saved, grads);
                    }
                }
            }
        }
    });
}

/// Adds the gradients of one block.
///
/// # Safety
/// Nothing else may read or write the gradients of the block's key head, nor of its query heads,
/// in the block's row meanwhile.
#[allow(unsafe_code)]
unsafe fn backward_block<T: Float>(
    block: &Block<'_, T>,
    saved: &Saved<'_, T>,
    grads: Grads<'_, T>,
) {
    let &Block { inputs, b, head, key_head, ref queries, .. } = block;
    let (rows, width) = (queries.len(), block.width());
    let scale = inputs.scale();
    let q = inputs.queries.matrix(b, head, queries.clone());
    let grad = Heads { elements: saved.grad, layout: inputs.output() };
    let grad = grad.matrix(b, head, queries.clone());
    with_scratch(2 * rows * width, |scratch| {
        let (weights, grad_scores) = scratch.split_at_mut(rows * width);
        block.multiply_by_keys(q, &inputs.keys, weights, scale);
        block.multiply_by_keys(grad, &inputs.values, grad_scores, T::ONE);
        vectorized!({
            let rows = weights.chunks_exact_mut(width).zip(grad_scores.chunks_exact_mut(width));
            for ((weights, grad_scores), query) in rows.zip(queries.clone()) {
                scores_to_gradients(block, saved, query, weights, grad_scores);
            }
        });
        for (column, keys) in block.ranges() {
            let weights = Matrix::strided(&weights[column..], rows, keys.len(), width);
            let grad_scores = Matrix::strided(&grad_scores[column..], rows, keys.len(), width);
            let k = inputs.keys.matrix(b, key_head, keys.clone());
            // SAFETY: guaranteed by the caller.
            let (grad_q, grad_k, grad_v) = unsafe {
                (
                    inputs.queries.layout.destination(grads.queries, b, head, queries.clone()),
                    inputs.keys.layout.destination(grads.keys, b, key_head, keys.clone()),
                    inputs.values.layout.destination(grads.values, b, key_head, keys),
                )
            };
            matmul_single_threaded(grad_v, T::ONE, weights.transposed(), grad, T::ONE);
            matmul_single_threaded(grad_k, T::ONE, grad_scores.transposed(), q, scale);
            matmul_single_threaded(grad_q, T::ONE, grad_scores, k, scale);
        }
    });
}

/// Turns a row of scores into weights, and the gradient of the weights into that of the scores.
#[inline(always)]
fn scores_to_gradients<T: Float>(
    block: &Block<'_, T>,
    saved: &Saved<'_, T>,
    query: usize,
    weights: &mut [T],
    grad_scores: &mut [T],
) {
    let &Block { inputs, b, head, .. } = block;
    let HeadLayout { len: t, heads: h, .. } = inputs.queries.layout;
    let log_sum = saved.log_sums[(b * h + head) * t + query];
    let hidden = T::cast(f64::NEG_INFINITY);
    let visible = if log_sum == hidden { 0 } else { block.apply_mask(query, weights) };
    let layout = inputs.output();
    let at = layout.first(b, query, head);
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
