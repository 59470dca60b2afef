//! 16-bit dtypes are for storage, not for accumulation: a bf16 sum of ones stops at 256.

use candle_core::{DType, Result, Tensor};

/// `f(x)`, computed in f32 if `x` is a 16-bit tensor, and rounded back.
pub(super) fn in_f32(x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => f(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype()),
        _ => f(x),
    }
}
