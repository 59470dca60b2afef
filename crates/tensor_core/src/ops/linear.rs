//! y = x Wᵀ + b, with W stored as (out, in).
//!
//! grad x = grad · W, grad W = gradᵀ · x, grad b = the sum of the rows of grad: one matrix product
//! each, in the layout of the parameters, where candle's own backward pass would transpose and add
//! copies.

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{by_type, for_each_part, has_fused_loops, vectorized};
use super::float::Float;
use super::matmul::{Matrix, matmul};
use super::small_batch::{self, Dots};
use super::storage::{tensor_like, values};
use crate::graph::record;

/// Linear map of `x: (.., in)` by `weight: (out, in)` and `bias: (out)`, giving `(.., out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    let fit = x.dims().last() == Some(&n_in);
    match bias {
        None => check("linear", &[("x", x), ("weight", weight)], fit)?,
        Some(bias) => {
            let fit = fit && bias.dims() == [n_out];
            check("linear", &[("x", x), ("weight", weight), ("bias", bias)], fit)?;
        }
    }
    if has_fused_loops(x) {
        by_type!(x, fused(x, weight, bias))
    } else {
        reference(x, weight, bias)
    }
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    // One product over all rows; otherwise candle would copy the weight for every row of the batch.
    let y = x.reshape(((), n_in))?.matmul(&weight.t()?)?; // (N, in) x (in, out) -> (N, out)
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(with_last(x.dims(), n_out))
}

fn with_last(dims: &[usize], last: usize) -> Vec<usize> {
    [&dims[..dims.len() - 1], &[last]].concat()
}

fn fused<T: Dots>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (n_out, n_in) = weight.dims2()?;
    let shape = with_last(x.dims(), n_out);
    let y = {
        let (x_values, weight) = (values::<T>(&x)?, values::<T>(&weight)?);
        let rows = x.elem_count() / n_in;
        let bias = bias.map(Tensor::contiguous).transpose()?;
        let bias = bias.as_ref().map(values::<T>).transpose()?;
        if rows <= small_batch::MAX_ROWS {
            small_batch::matmul(&x_values, &weight, n_in, bias.as_deref())
        } else {
            let (x, weight) =
                (Matrix::new(&x_values, rows, n_in), Matrix::new(&weight, n_out, n_in));
            matmul(x, weight.transposed(), bias.as_deref())
        }
    };
    let (saved_x, saved_weight) = (x.detach(), weight.detach());
    match bias {
        None => record("linear", [&x, &weight], y, shape, move |grad, needed| {
            backward::<T>(&saved_x, &saved_weight, grad, needed)
        }),
        Some(bias) => record("linear", [&x, &weight, bias], y, shape, move |grad, needed| {
            let [needs_x, needs_weight, needs_bias] = needed;
            let [grad_x, grad_weight] =
                backward::<T>(&saved_x, &saved_weight, grad, [needs_x, needs_weight])?;
            let grad_bias = match needs_bias {
                true => Some(Tensor::from_vec(
                    sum_of_rows::<T>(&values(grad)?, n_out),
                    n_out,
                    grad.device(),
                )?),
                false => None,
            };
            Ok([grad_x, grad_weight, grad_bias])
        }),
    }
}

/// Gradients of x and the weight.
fn backward<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    [needs_x, needs_weight]: [bool; 2],
) -> Result<[Option<Tensor>; 2]> {
    let (n_out, n_in) = weight.dims2()?;
    let rows = x.elem_count() / n_in;
    let grad = values::<T>(grad)?;
    let grad = Matrix::new(&grad, rows, n_out);
    let grad_x = match needs_x {
        true => {
            let weight = values::<T>(weight)?;
            Some(tensor_like(matmul(grad, Matrix::new(&weight, n_out, n_in), None), x)?)
        }
        false => None,
    };
    let grad_weight = match needs_weight {
        true => {
            let x = values::<T>(x)?;
            Some(tensor_like(matmul(grad.transposed(), Matrix::new(&x, rows, n_in), None), weight)?)
        }
        false => None,
    };
    Ok([grad_x, grad_weight])
}

/// Sum of the rows of `n` elements in `x`.
pub(crate) fn sum_of_rows<T: Float>(x: &[T], n: usize) -> Vec<T> {
    let mut total = vec![T::ZERO; n];
    // One strip of columns per task; within it, the rows are added in order.
    const STRIP: usize = 64;
    for_each_part([(&mut total, STRIP)], |i, [total]| {
        vectorized!({
            for row in x.chunks_exact(n) {
                total.iter_mut().zip(&row[i * STRIP..]).for_each(|(total, &x)| *total += x);
            }
        });
    });
    total
}
