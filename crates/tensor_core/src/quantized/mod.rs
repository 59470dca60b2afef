//! Quantized matrices in ggml's block formats, on the CPU: for inference, and as the frozen weights
//! below LoRA adapters (QLoRA, Dettmers et al. 2023, <https://arxiv.org/abs/2305.14314>).
//!
//! A row is divided into blocks of 32 or 256 weights. A block stores small integers q, with a scale
//! (and in some formats a minimum) for each group of 16 or 32: w = scale · q + offset. Text
//! generation reads every weight once per token, so weights of a quarter of the size are read in a
//! quarter of the time.
//!
//! A product with few rows never computes w: with x = scale' · p quantized in blocks too, Σ w x =
//! scale · scale' · Σ q p + offset · scale' · Σ p, and Σ q p is a sum of products of bytes, for
//! which processors have instructions. A product with many rows is bound by arithmetic, so it
//! dequantizes w once and uses the f32 product.

mod format;
mod matrix;

pub use format::Quantization;
#[cfg(test)]
pub(crate) use format::by_format;
pub use matrix::QuantizedMatrix;
