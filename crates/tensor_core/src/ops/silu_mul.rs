//! silu(g) · u = g · σ(g) · u: the gate of SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>).
//!
//! grad u = grad · g · σ(g), grad g = grad · u · σ(g) · (1 + g · (1 − σ(g))).

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{GRAIN, by_type, has_fused_loops, vectorized};
use super::float::Float;
use super::storage::{tensor_like, values};
use super::uninit::{Uninit, build, elementwise_product};
use crate::graph::{is_tracked, record};

/// SiLU of `gate` times `up`, elementwise; both of one shape.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    check("silu_mul", &[("gate", gate), ("up", up)], gate.dims() == up.dims())?;
    if has_fused_loops(gate) { by_type!(gate, fused(gate, up)) } else { reference(gate, up) }
}

/// Reference implementation from plain tensor operations.
pub fn reference(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

fn fused<T: Float>(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    if !is_tracked(&gate) && !is_tracked(&up) {
        return tensor_like(forward::<T>(&values(&gate)?, &values(&up)?), &gate);
    }
    let [y, slope_gate, slope_up] = forward_with_slopes::<T>(&values(&gate)?, &values(&up)?);
    record("silu_mul", [&gate, &up], y, gate.shape(), move |grad, needed| {
        let slopes = [(&slope_gate, needed[0]), (&slope_up, needed[1])];
        let [grad_gate, grad_up] = slopes.map(|(slope, needed)| match needed {
            true => tensor_like(elementwise_product(slope, &values::<T>(grad)?), grad).map(Some),
            false => Ok(None),
        });
        Ok([grad_gate?, grad_up?])
    })
}

fn forward<T: Float>(gate: &[T], up: &[T]) -> Vec<T> {
    let [y] = build([(gate.len(), GRAIN)], |i, [y]| {
        let rows = [&gate[i * GRAIN..], &up[i * GRAIN..]];
        [vectorized!(y.fill(rows, |[gate, up]| gate * sigmoid(gate) * up))]
    });
    y
}

/// Result and its derivatives with respect to gate and up, which cost little more than the result
/// and are saved in place of the inputs.
fn forward_with_slopes<T: Float>(gate: &[T], up: &[T]) -> [Vec<T>; 3] {
    build([(gate.len(), GRAIN); 3], |i, outputs| {
        let rows = [&gate[i * GRAIN..], &up[i * GRAIN..]];
        vectorized!({
            Uninit::fill_all(outputs, rows, |[gate, up]| {
                let sigmoid = sigmoid(gate);
                let silu = gate * sigmoid;
                [silu * up, up * sigmoid * (T::ONE + gate * (T::ONE - sigmoid)), silu]
            })
        })
    })
}

/// Sigmoid 1 / (1 + exp(−x)); at −1e4, where exp overflows, 0.
#[inline(always)]
fn sigmoid<T: Float>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}
