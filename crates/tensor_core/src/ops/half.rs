//! 16-bit numbers are for keeping, not for adding up: a bf16 sum of ones stops at 256.

use candle_core::{DType, Result, Tensor};

/// `f(x)`, computed in f32 where `x` holds 16-bit numbers, and rounded back.
pub(super) fn widened(x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => f(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype()),
        _ => f(x),
    }
}
