//! silu(g) · u = g · σ(g) · u: the gate of SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>).
//!
//! grad u = grad · g · σ(g), grad g = grad · u · σ(g) · (1 + g · (1 − σ(g))).

use candle_core::{Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::at_least_f32;
use crate::graph::{is_tracked, record};
use crate::kernels::{Float, elementwise_product, map_elements, tensor_like, values};

/// SiLU of `gate` times `up`, elementwise; both of one shape.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    check("silu_mul", &[("gate", gate), ("up", up)], gate.dims() == up.dims())?;
    fused_or_reference!(gate, up)
}

/// Reference implementation from plain tensor operations.
pub fn reference(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let up = at_least_f32(up)?;
    in_f32(gate, |gate| gate.silu()? * up)
}

fn fused<T: Float>(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    if !is_tracked(&gate) && !is_tracked(&up) {
        return tensor_like(forward::<T>(&values(&gate)?, &values(&up)?), &gate);
    }
    let [y, slope_gate, slope_up] = forward_with_slopes::<T>(&values(&gate)?, &values(&up)?);
    record("silu_mul", [&gate, &up], y, gate.shape(), move |grad, [needs_gate, needs_up]| {
        let grad_values = values::<T>(grad)?;
        let times = |slope: &[T]| tensor_like(elementwise_product(slope, &grad_values), grad);
        let grad_gate = needs_gate.then(|| times(&slope_gate)).transpose()?;
        let grad_up = needs_up.then(|| times(&slope_up)).transpose()?;
        Ok([grad_gate, grad_up])
    })
}

fn forward<T: Float>(gate: &[T], up: &[T]) -> Vec<T> {
    let [y] = map_elements!([gate, up], [gate * sigmoid(gate) * up]);
    y
}

/// Result and its derivatives with respect to gate and up, which cost little more than the result
/// and are saved in place of the inputs.
fn forward_with_slopes<T: Float>(gate: &[T], up: &[T]) -> [Vec<T>; 3] {
    map_elements!([gate, up], {
        let sigmoid = sigmoid(gate);
        let silu = gate * sigmoid;
        [silu * up, up * sigmoid * (T::ONE + gate * (T::ONE - sigmoid)), silu]
    })
}

/// Sigmoid 1 / (1 + exp(−x)); at −1e4, where exp overflows, 0.
#[inline(always)]
fn sigmoid<T: Float>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}
