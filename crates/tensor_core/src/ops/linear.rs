//! y = x Wᵀ + b, with W stored as (out, in).
//!
//! grad x = grad · W, grad W = gradᵀ · x, grad b = the sum of the rows of grad: one matrix product
//! each, in the layout of the parameters, where candle's own backward pass would transpose and add
//! copies.

use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;

use super::add;
use super::dispatch::{check, check_mixed, fused_or_reference};
use crate::graph::record_all;
use crate::kernels::matrix::Matrix;
use crate::kernels::{LinearProducts, RoundedToBf16, sum_of_rows, tensor_like, values};

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

/// [`linear`] in mixed precision, on the CPU: operands of matrix products are rounded to bf16 and
/// the products added up in f32, forward and backward, as processors do it that multiply bf16
/// numbers. x, the bias, the result and all gradients are f32; the weight is f32 or bf16.
///
/// # Errors
/// When shapes, devices or dtypes do not fit.
pub fn linear_bf16(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    let fit = x.dims().last() == Some(&n_in) && bias.is_none_or(|bias| bias.dims() == [n_out]);
    let inputs = [Some(("x", x)), Some(("weight", weight)), bias.map(|bias| ("bias", bias))];
    check_mixed("linear_bf16", &inputs.into_iter().flatten().collect::<Vec<_>>(), fit)?;
    match (x.device(), x.dtype(), weight.dtype()) {
        (Device::Cpu, DType::F32, DType::F32) => fused::<RoundedToBf16<f32>>(x, weight, bias),
        (Device::Cpu, DType::F32, DType::BF16) => fused::<RoundedToBf16<bf16>>(x, weight, bias),
        (device, x, weight) => bail!(
            "linear_bf16: x in {x:?} and a weight in {weight:?} on {:?}, expected f32, and f32 or \
             bf16, on the CPU",
            device.location()
        ),
    }
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

fn fused<P: LinearProducts>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (n_out, n_in) = weight.dims2()?;
    let shape = with_last(x.dims(), n_out);
    let mut y = Vec::new();
    {
        let bias = bias.map(Tensor::contiguous).transpose()?;
        let bias = bias.as_ref().map(values::<P::Number>).transpose()?;
        P::append_outputs(&mut y, &values(&x)?, &values(&weight)?, n_in, bias.as_deref());
    }
    let inputs: Vec<&Tensor> = [&x, &weight].into_iter().chain(bias).collect();
    let (x, weight) = (x.detach(), weight.detach());
    record_all("linear", &inputs, y, shape, move |grad, needed| {
        backward::<P>(&x, &weight, grad, needed)
    })
}

/// Gradients of x and the weight, and of the bias if `needed` has a third entry.
fn backward<P: LinearProducts>(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    needed: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let (n_out, n_in) = weight.dims2()?;
    let rows = x.elem_count() / n_in;
    let grad_values = values::<P::Number>(grad)?;
    let grads = Matrix::new(&grad_values, rows, n_out);
    let grad_x = needed[0].then(|| {
        let mut grad_x = Vec::new();
        P::append_grad_x(&mut grad_x, grads, Matrix::new(&values(weight)?, n_out, n_in));
        tensor_like(grad_x, x)
    });
    let grad_weight = needed[1].then(|| {
        let x = values(x)?;
        let grad_weight = P::grad_weight(grads, Matrix::new(&x, rows, n_in));
        tensor_like(grad_weight, weight)?.to_dtype(weight.dtype())
    });
    let mut all = vec![grad_x.transpose()?, grad_weight.transpose()?];
    if let Some(needs_bias) = needed.get(2) {
        let sum = || Tensor::from_vec(sum_of_rows(&grad_values, n_out), n_out, grad.device());
        all.push(needs_bias.then(sum).transpose()?);
    }
    Ok(all)
}
