//! y = x Wᵀ + b, with W stored as (out, in).
//!
//! grad x = grad · W, grad W = gradᵀ · x, grad b = the sum of grad's rows: one matrix product each, in the layout that
//! the optimiser wants, where candle's own backward pass would transpose and add copies.

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{by_type, for_each_part, has_fused_loops, vectorized};
use super::float::Real;
use super::matmul::{Matrix, product};
use super::small_batch::{self, Dots};
use super::storage::{tensor_like, values};
use crate::graph::record;

/// Maps `x: (.., in)` by `weight: (out, in)` and `bias: (out)` to `(.., out)`.
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

/// The same from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    // One product over all rows: candle would copy the weight for every batch row otherwise.
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
        if rows <= small_batch::MOST {
            small_batch::product(&x_values, &weight, n_in, bias.as_deref())
        } else {
            let (x, weight) =
                (Matrix::new(&x_values, rows, n_in), Matrix::new(&weight, n_out, n_in));
            product(x, weight.transposed(), bias.as_deref())
        }
    };
    let (kept_x, kept_weight) = (x.detach(), weight.detach());
    match bias {
        None => record("linear", [&x, &weight], y, shape, move |grad, needed| {
            backward::<T>(&kept_x, &kept_weight, grad, needed)
        }),
        Some(bias) => record("linear", [&x, &weight, bias], y, shape, move |grad, needed| {
            let [of_x, of_weight, of_bias] = needed;
            let [grad_x, grad_weight] =
                backward::<T>(&kept_x, &kept_weight, grad, [of_x, of_weight])?;
            let grad_bias = match of_bias {
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

/// The gradients of x and the weight.
fn backward<T: Real>(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    [of_x, of_weight]: [bool; 2],
) -> Result<[Option<Tensor>; 2]> {
    let (n_out, n_in) = weight.dims2()?;
    let rows = x.elem_count() / n_in;
    let grad = values::<T>(grad)?;
    let grad = Matrix::new(&grad, rows, n_out);
    let grad_x = match of_x {
        true => {
            let weight = values::<T>(weight)?;
            Some(tensor_like(product(grad, Matrix::new(&weight, n_out, n_in), None), x)?)
        }
        false => None,
    };
    let grad_weight = match of_weight {
        true => {
            let x = values::<T>(x)?;
            Some(tensor_like(
                product(grad.transposed(), Matrix::new(&x, rows, n_in), None),
                weight,
            )?)
        }
        false => None,
    };
    Ok([grad_x, grad_weight])
}

/// The sum of the rows of `n` numbers that `x` consists of.
pub(crate) fn sum_of_rows<T: Real>(x: &[T], n: usize) -> Vec<T> {
    let mut total = vec![T::ZERO; n];
    // A strip of columns per task; within it the rows in order.
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
