//! silu(g) · u = g · σ(g) · u: the gate of SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>).
//!
//! grad u = grad · g · σ(g), grad g = grad · u · σ(g) · (1 + g · (1 − σ(g))).

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{GRAIN, build, by_type, has_fused_loops, vectorized};
use super::real::Real;
use super::storage::{tensor_like, values};
use crate::graph::record;

/// SiLU of every element of `gate` times the element of `up`; both of one shape.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    check("silu_mul", &[("gate", gate), ("up", up)], gate.dims() == up.dims())?;
    if has_fused_loops(gate) { by_type!(gate, fused(gate, up)) } else { reference(gate, up) }
}

/// The same from plain tensor operations.
pub fn reference(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

fn fused<T: Real>(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let y = forward::<T>(&values(&gate)?, &values(&up)?);
    record("silu_mul", [&gate, &up], y, gate.shape(), {
        let (gate, up) = (gate.detach(), up.detach());
        move |grad, _| {
            let grads = backward::<T>(&values(&gate)?, &values(&up)?, &values(grad)?);
            let [grad_gate, grad_up] = grads.map(|grad| tensor_like(grad, &gate));
            Ok([Some(grad_gate?), Some(grad_up?)])
        }
    })
}

fn forward<T: Real>(gate: &[T], up: &[T]) -> Vec<T> {
    let [y] = build([(gate.len(), GRAIN)], |i, [y]| {
        let each = y.iter_mut().zip(gate[i * GRAIN..].iter().zip(&up[i * GRAIN..]));
        vectorized(|| each.for_each(|(y, (&gate, &up))| *y = gate * sigmoid(gate) * up));
    });
    y
}

fn backward<T: Real>(gate: &[T], up: &[T], grad: &[T]) -> [Vec<T>; 2] {
    let n = gate.len();
    build([(n, GRAIN), (n, GRAIN)], |i, [grad_gate, grad_up]| {
        let inputs = gate[i * GRAIN..].iter().zip(&up[i * GRAIN..]).zip(&grad[i * GRAIN..]);
        vectorized(|| {
            let each = grad_gate.iter_mut().zip(grad_up).zip(inputs);
            each.for_each(|((grad_gate, grad_up), ((&gate, &up), &grad))| {
                let sigmoid = sigmoid(gate);
                *grad_up = grad * gate * sigmoid;
                *grad_gate = grad * up * sigmoid * (T::ONE + gate * (T::ONE - sigmoid));
            });
        });
    })
}

/// 1 / (1 + exp(−x)); at −1e4, where exp overflows, 0.
#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}
