//! y = x Wᵀ + b, with W stored as (out, in).
//!
//! grad x = grad · W, grad W = gradᵀ · x, grad b = the sum of the rows of grad: one matrix product
//! each, in the layout of the parameters, where candle's own backward pass would transpose and add
//! copies.

use candle_core::{Result, Tensor};

use super::add;
use super::dispatch::{check, fused_or_reference};
use crate::graph::record_all;
use crate::kernels::matmul::{append_linear, matmul};
use crate::kernels::matrix::Matrix;
use crate::kernels::small_batch::Dots;
use crate::kernels::{Float, sum_of_rows, tensor_like, values};

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
    fused_or_reference!(x, weight, bias)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    // One product over all rows; otherwise candle would copy the weight for every row of the batch.
    let y = x.reshape(((), n_in))?.matmul(&weight.t()?)?; // (N, in) x (in, out) -> (N, out)
    let y = match bias {
        Some(bias) => add::reference(&y, bias)?,
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
    let mut y = Vec::new();
    {
        let bias = bias.map(Tensor::contiguous).transpose()?;
        let bias = bias.as_ref().map(values::<T>).transpose()?;
        append_linear(&mut y, &values(&x)?, &values(&weight)?, n_in, bias.as_deref());
    }
    let inputs: Vec<&Tensor> = [&x, &weight].into_iter().chain(bias).collect();
    let (x, weight) = (x.detach(), weight.detach());
    record_all("linear", &inputs, y, shape, move |grad, needed| {
        backward::<T>(&x, &weight, grad, needed)
    })
}

/// Gradients of x and the weight, and of the bias if `needed` has a third entry.
fn backward<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    needed: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let (n_out, n_in) = weight.dims2()?;
    let rows = x.elem_count() / n_in;
    let grad_values = values::<T>(grad)?;
    let grads = Matrix::new(&grad_values, rows, n_out);
    let grad_x = needed[0].then(|| {
        let weight = values::<T>(weight)?;
        tensor_like(matmul(grads, Matrix::new(&weight, n_out, n_in), None), x)
    });
    let grad_weight = needed[1].then(|| {
        let x = values::<T>(x)?;
        tensor_like(matmul(grads.transposed(), Matrix::new(&x, rows, n_in), None), weight)
    });
    let mut all = vec![grad_x.transpose()?, grad_weight.transpose()?];
    if let Some(needs_bias) = needed.get(2) {
        let sum = || Tensor::from_vec(sum_of_rows(&grad_values, n_out), n_out, grad.device());
        all.push(needs_bias.then(sum).transpose()?);
    }
    Ok(all)
}
