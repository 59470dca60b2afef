//! How a CPU computes fast: threads, vector units, and loops over slices.
//!
//! A fused operation reads its inputs once and writes its result once, where a chain of tensor
//! operations allocates and traverses memory for each step. What such loops are made of is here.
//! It is below everything else in this crate: it knows neither the graph nor the operations, and
//! the operations can be read without it.
//!
//! The division of a loop into tasks depends on shapes alone, never on the number of threads, so
//! its results do not either. (A matrix product is divided by the number of threads, see
//! `matmul.rs`; the same number gives the same bits.)

pub(crate) mod pool;
mod prefetch;
mod float;
mod vectorized;
mod parts;
mod uninit;
mod loops;
mod reductions;
mod storage;
pub(crate) mod matrix;
pub(crate) mod matmul;
pub(crate) mod bf16;
mod linear_products;
pub(crate) mod small_batch;
pub(crate) mod attention;
pub(crate) mod quantized;

pub(crate) use float::{Float, by_type, has_fused_loops};
pub(crate) use linear_products::{LinearProducts, RoundedToBf16};
pub(crate) use loops::{
    broadcast_add, elementwise_product, map_elements, map_rows, new_rows, reduce_rows,
};
pub(crate) use parts::{GRAIN, SharedSlice, for_each_pair_of_parts, for_each_part, whole_rows};
pub(crate) use reductions::{log_sum_exp, log_sums, softmax_row, sum, sum_of_rows};
pub(crate) use storage::{strided_values, tensor_like, values, write};
pub(crate) use uninit::{Uninit, build, zeros};
pub(crate) use vectorized::{Loops, vectorized};
