//! Addition a + b, as at the end of a residual branch. The gradient goes to both inputs unchanged.

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{GRAIN, by_type, has_fused_loops, vectorized, whole_rows};
use super::float::Float;
use super::linear::sum_of_rows;
use super::storage::{tensor_like, values};
use super::uninit::build;
use crate::graph::record;

/// Sum of `a` and `b`. The shape of `b` is that of `a` or its last dimensions, over which it is
/// broadcast.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check("add", &[("a", a), ("b", b)], a.dims().ends_with(b.dims()))?;
    if has_fused_loops(a) { by_type!(a, fused(a, b)) } else { reference(a, b) }
}

/// Reference implementation from plain tensor operations.
pub fn reference(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.broadcast_add(b)
}

fn fused<T: Float>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let sum = forward::<T>(&values(&a)?, &values(&b)?);
    record("add", [&a, &b], sum, a.shape(), {
        let b = b.detach();
        move |grad, [_, needs_b]| {
            let grad_b = match needs_b {
                false => None,
                true if grad.elem_count() == b.elem_count() => Some(grad.reshape(b.shape())?),
                true => Some(tensor_like(sum_of_rows::<T>(&values(grad)?, b.elem_count()), &b)?),
            };
            Ok([Some(grad.clone()), grad_b])
        }
    })
}

fn forward<T: Float>(a: &[T], b: &[T]) -> Vec<T> {
    let each = if a.len() == b.len() { GRAIN } else { whole_rows(b.len()) };
    let [sum] = build([(a.len(), each)], |part, [sum]| {
        let a = &a[part * each..][..sum.len()];
        let b = if a.len() < b.len() { &b[part * each..][..a.len()] } else { b };
        [vectorized!({
            sum.fill_rows(b.len(), |row, sum| sum.fill([&a[row * b.len()..], b], |[a, b]| a + b))
        })]
    });
    sum
}

/// Sum of two gradients of one shape, without recording it in the graph.
pub(crate) fn add_untracked(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    fn fused<T: Float>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (a, b) = (a.contiguous()?, b.contiguous()?);
        tensor_like(forward::<T>(&values(&a)?, &values(&b)?), &a)
    }
    if has_fused_loops(a) { by_type!(a, fused(a, b)) } else { a.detach() + b.detach() }
}
