//! The three products of a linear layer, in the arithmetic of its numbers or of bf16.

use std::marker::PhantomData;

use candle_core::WithDType;

use super::bf16::{self, Operand, Units};
use super::float::Float;
use super::matmul;
use super::matrix::Matrix;
use super::small_batch::Dots;

/// Arithmetic of the products of a linear layer with a weight W: (M, K).
pub(crate) trait LinearProducts {
    /// Type of the inputs, the outputs and the gradients.
    type Number: Float;
    /// Type in which the weight is stored.
    type Weight: WithDType;

    /// x Wᵀ + bias for `x: (N, K)`, appended to `y` as (N, M).
    fn append_outputs(
        y: &mut Vec<Self::Number>,
        x: &[Self::Number],
        w: &[Self::Weight],
        k: usize,
        bias: Option<&[Self::Number]>,
    );

    /// grad · W for `grad: (N, M)`, appended to `grad_x` as (N, K).
    fn append_grad_x(
        grad_x: &mut Vec<Self::Number>,
        grad: Matrix<'_, Self::Number>,
        w: Matrix<'_, Self::Weight>,
    );

    /// gradᵀ · x for `grad: (N, M)` and `x: (N, K)`: (M, K).
    fn grad_weight(
        grad: Matrix<'_, Self::Number>,
        x: Matrix<'_, Self::Number>,
    ) -> Vec<Self::Number>;
}

/// Products of the numbers as they are.
impl<T: Dots> LinearProducts for T {
    type Number = T;
    type Weight = T;

    fn append_outputs(y: &mut Vec<T>, x: &[T], w: &[T], k: usize, bias: Option<&[T]>) {
        matmul::append_linear(y, x, w, k, bias);
    }

    fn append_grad_x(grad_x: &mut Vec<T>, grad: Matrix<'_, T>, w: Matrix<'_, T>) {
        matmul::append_matmul(grad_x, grad, w, None);
    }

    fn grad_weight(grad: Matrix<'_, T>, x: Matrix<'_, T>) -> Vec<T> {
        matmul::matmul(grad.transposed(), x, None)
    }
}

/// Products of numbers rounded to bf16, with sums in f32, and a weight that is stored as W.
pub(crate) struct RoundedToBf16<W>(PhantomData<W>);

impl<W: Operand + WithDType> LinearProducts for RoundedToBf16<W> {
    type Number = f32;
    type Weight = W;

    fn append_outputs(y: &mut Vec<f32>, x: &[f32], w: &[W], k: usize, bias: Option<&[f32]>) {
        bf16::append_linear(y, x, w, k, bias);
    }

    fn append_grad_x(grad_x: &mut Vec<f32>, grad: Matrix<'_, f32>, w: Matrix<'_, W>) {
        bf16::append_matmul(Units::of_this_cpu(), grad_x, grad, w, None);
    }

    fn grad_weight(grad: Matrix<'_, f32>, x: Matrix<'_, f32>) -> Vec<f32> {
        let mut grad_weight = Vec::new();
        let units = Units::of_this_cpu();
        bf16::append_matmul(units, &mut grad_weight, grad.transposed(), x, None);
        grad_weight
    }
}
