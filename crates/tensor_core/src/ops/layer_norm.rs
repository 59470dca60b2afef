//! y = (x − mean) / √(variance + ε) · weight + bias, over the last dimension.

use candle_core::{D, Result, Tensor};

/// Normalises each row of `x: (.., C)`, then scales by `weight: (C)` and shifts by `bias: (C)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal.broadcast_mul(weight)?.broadcast_add(bias)
}
