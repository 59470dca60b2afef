//! Products with quantized matrices, from their blocks in ggml's formats; see
//! [`crate::quantized`].
//!
//! Functions are generic in the format, and take the blocks of a matrix row by row with its number
//! of columns.

mod format;
mod layouts;
mod dequantize;
mod activations;
mod block_dots;
mod small_batch;
#[cfg(target_arch = "x86_64")]
mod x86;
mod large_batch;

pub(crate) use dequantize::{dequantize, dequantize_rows};
pub(crate) use format::Format;
pub(crate) use layouts::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q6K, Q8_0};
#[cfg(test)]
pub(crate) use small_batch::{InstructionSet, matmul_with};

/// x Wᵀ for `x: (N, columns)`, giving (N, rows); for small N, x is quantized to 8 bits.
pub(crate) fn matmul<F: small_batch::AnyFormat>(w: &[u8], columns: usize, x: &[f32]) -> Vec<f32> {
    if x.len() / columns <= small_batch::MAX_ROWS {
        small_batch::matmul::<F>(w, columns, x)
    } else {
        large_batch::matmul::<F>(w, columns, x)
    }
}

/// x Wᵀ for `x: (N, columns)` as it is, giving (N, rows): the function that training
/// differentiates.
pub(crate) fn matmul_f32<F: Format>(w: &[u8], columns: usize, x: &[f32]) -> Vec<f32> {
    large_batch::matmul::<F>(w, columns, x)
}
