//! Forward pass of attention.

use pulp::Arch;

use super::block::Block;
use super::layout::{HeadLayout, Inputs};
use super::single_query::SingleQuery;
use crate::kernels::float::with_scratch;
use crate::kernels::matrix::{Matrix, matmul_single_threaded};
use crate::kernels::parts::SharedSlice;
use crate::kernels::pool;
use crate::kernels::reductions::softmax_row;
use crate::kernels::small_batch::Dots;
use crate::kernels::uninit::zeros;
use crate::kernels::vectorized::vectorized;

/// Outputs (B, T, H, D), and the log-sum-exp of each row of scores, (B, H, T).
pub(crate) fn forward<T: Dots>(inputs: &Inputs<'_, T>) -> (Vec<T>, Vec<T>) {
    let HeadLayout { len: t, heads: h, d, .. } = inputs.queries.layout;
    let blocks = inputs.blocks();
    let mut output = zeros(inputs.b * t * h * d);
    let mut log_sums = vec![T::ZERO; inputs.b * h * t];
    let (shared_output, shared_log_sums) =
        (SharedSlice::new(&mut output), SharedSlice::new(&mut log_sums));
    pool::for_each(inputs.b * h * blocks, |task| {
        let (row_and_head, i) = (task / blocks, blocks - 1 - task % blocks);
        let block = Block::new(inputs, row_and_head / h, row_and_head % h, i);
        let start = row_and_head * t + block.queries.start;
        // SAFETY: this is the only task with this row, head and block of queries.
        #[allow(unsafe_code)]
        unsafe {
            forward_block(
                &block,
                &shared_output,
                shared_log_sums.range(start, block.queries.len()),
            );
        }
    });
    (output, log_sums)
}

/// Outputs of one block of queries, which are zeros before, and the log-sum-exp of each query.
///
/// # Safety
/// Nothing else may read or write the block's part of `output` meanwhile.
#[allow(unsafe_code)]
unsafe fn forward_block<T: Dots>(
    block: &Block<'_, T>,
    output: &SharedSlice<'_, T>,
    log_sums: &mut [T],
) {
    let &Block { inputs, b, head, key_head, ref queries, .. } = block;
    let (layout, width) = (inputs.output(), block.width());
    if width == 0 {
        return log_sums.fill(T::cast(f64::NEG_INFINITY));
    }
    if let [log_sum] = log_sums {
        let start = layout.first(b, queries.start, head);
        // SAFETY: guaranteed by the caller.
        let output = unsafe { output.range(start, layout.d) };
        *log_sum = with_scratch(width, |weights| {
            Arch::new().dispatch(SingleQuery { block, weights, output })
        });
        return;
    }
    with_scratch(queries.len() * width, |weights| {
        let q = inputs.queries.matrix(b, head, queries.clone());
        block.multiply_by_keys(q, &inputs.keys, weights, inputs.scale());
        vectorized!({
            let rows = weights.chunks_exact_mut(width).zip(log_sums);
            for ((row, log_sum), query) in rows.zip(queries.clone()) {
                let visible = block.apply_mask(query, row);
                let (visible, masked) = row.split_at_mut(visible);
                *log_sum = softmax_row(visible);
                masked.fill(T::ZERO);
            }
        });
        for (column, keys) in block.ranges() {
            let weights = Matrix::strided(&weights[column..], queries.len(), keys.len(), width);
            let v = inputs.values.matrix(b, key_head, keys);
            // SAFETY: guaranteed by the caller.
            let output = unsafe { layout.destination(output, b, head, queries.clone()) };
            matmul_single_threaded(output, T::ONE, weights, v, T::ONE);
        }
    });
}
