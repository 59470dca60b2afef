//! softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x), over the last dimension.

use candle_core::{D, DType, Result, Tensor};

/// Turns each row of `x: (.., N)` into probabilities. A row that is −∞ everywhere gives zeros, not NaN.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // Any constant may be subtracted from a row, so the largest value needs no gradient.
    let max = x.detach().max_keepdim(D::Minus1)?; // (.., 1)
    let max = max.maximum(lowest_finite(x.dtype()))?; // (−∞) − (−∞) would be NaN
    let exp = x.broadcast_sub(&max)?.exp()?;
    let sum = exp.sum_keepdim(D::Minus1)?; // (.., 1)
    let sum = sum.maximum(0.5)?; // the largest value alone adds 1, so this only replaces a sum of 0
    exp.broadcast_div(&sum)
}

fn lowest_finite(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -65504.,
        DType::BF16 => -3e38,
        _ => f64::from(f32::MIN),
    }
}
