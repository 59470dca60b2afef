//! Dtypes of 16 bits, and the f32 in which losses, norms and merged weights are computed: 16 bits
//! are for storage, not for accumulation.

use candle_core::{DType, Result, Tensor};

/// f32 for a dtype of 16 bits, any other dtype as it is.
pub fn dtype_at_least_f32(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        _ => dtype,
    }
}

/// Values of `tensor` in f32 if they have 16 bits, else `tensor` itself. Differentiable.
///
/// # Errors
/// When memory is short.
pub fn at_least_f32(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_dtype(dtype_at_least_f32(tensor.dtype()))
}

/// `f(x)`, computed in f32 if `x` has 16 bits, and rounded back: a bf16 sum of ones stops at 256.
/// Differentiable.
///
/// # Errors
/// Those of `f`, and when memory is short.
pub fn in_f32(x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    f(&at_least_f32(x)?)?.to_dtype(x.dtype())
}
