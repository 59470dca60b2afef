//! Dtypes of 16 bits, and the f32 in which losses, norms and merged weights are computed: 16 bits
//! are for storage, not for accumulation.

use candle_core::{DType, Device, Result, Tensor};

use crate::kernels::bf16::Units;

/// Note on the vector units with which a model on `device` computes in `dtype`, to be appended to a
/// line about the model; empty but for bf16 on the CPU
/// ([`Parameters::with_compute_dtype`](crate::Parameters::with_compute_dtype)).
pub fn units_note(dtype: DType, device: &Device) -> String {
    match (dtype, device) {
        (DType::BF16, Device::Cpu) => format!("; bf16 products on {}", Units::of_this_cpu().name()),
        _ => String::new(),
    }
}

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
