//! y = x Wᵀ + b, with W stored as (out, in).
//!
//! grad x = grad · W, grad W = gradᵀ · x, grad b = the sum of grad's rows: one matrix product each, in the layout that
//! the optimiser wants, where candle's own backward pass would transpose and add copies.

use candle_core::{Result, Tensor, bail};

use super::cpu::{Real, by_type, for_each_part, has_fused_loops, rows_per_task};
use super::node::{attach, values};
use super::product::{Matrix, product};

/// Maps `x: (.., in)` by `weight: (out, in)` and `bias: (out)` to `(.., out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    if x.dims().last() != Some(&n_in) {
        bail!("linear: input {:?} does not fit weight {:?}", x.dims(), weight.dims());
    }
    if let Some(bias) = bias.filter(|bias| bias.dims() != [n_out]) {
        bail!("linear: bias {:?} does not fit weight {:?}", bias.dims(), weight.dims());
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

fn fused<T: Real>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (&x.contiguous()?, &weight.contiguous()?);
    let (n_out, n_in) = weight.dims2()?;
    let shape = with_last(x.dims(), n_out);
    let rows = x.elem_count() / n_in.max(1);
    let mut y = vec![T::ZERO; rows * n_out];
    if let Some(bias) = bias {
        let bias = bias.contiguous()?;
        let bias = values::<T>(&bias)?;
        for_each_part(&mut y, rows_per_task(n_out) * n_out.max(1), |_, part| {
            part.chunks_exact_mut(n_out).for_each(|row| row.copy_from_slice(&bias));
        });
    }
    {
        let (x, weight) = (values::<T>(x)?, values::<T>(weight)?);
        let (x, weight) = (Matrix::new(&x, rows, n_in), Matrix::new(&weight, n_out, n_in));
        product(&mut y, T::ONE, x, weight.transposed()); // adds to the bias
    }
    match bias {
        None => attach("linear", [x, weight], y, shape, |[x, weight], grad| {
            let (grad_x, grad_weight) = backward::<T>(x, weight, grad)?;
            Ok([Some(grad_x), Some(grad_weight)])
        }),
        Some(bias) => attach("linear", [x, weight, bias], y, shape, |[x, weight, bias], grad| {
            let (grad_x, grad_weight) = backward::<T>(x, weight, grad)?;
            let grad_bias = sum_of_rows(&values::<T>(grad)?, bias.elem_count());
            let grad_bias = Tensor::from_vec(grad_bias, bias.shape(), x.device())?;
            Ok([Some(grad_x), Some(grad_weight), Some(grad_bias)])
        }),
    }
}

fn backward<T: Real>(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n_out, n_in) = weight.dims2()?;
    let rows = x.elem_count() / n_in.max(1);
    let (x_values, weight_values, grad) =
        (values::<T>(x)?, values::<T>(weight)?, values::<T>(grad)?);
    let grad = Matrix::new(&grad, rows, n_out);
    let mut grad_x = vec![T::ZERO; rows * n_in];
    product(&mut grad_x, T::ZERO, grad, Matrix::new(&weight_values, n_out, n_in));
    let mut grad_weight = vec![T::ZERO; n_out * n_in];
    product(&mut grad_weight, T::ZERO, grad.transposed(), Matrix::new(&x_values, rows, n_in));
    let grad_x = Tensor::from_vec(grad_x, x.shape(), x.device())?;
    Ok((grad_x, Tensor::from_vec(grad_weight, weight.shape(), x.device())?))
}

fn sum_of_rows<T: Real>(x: &[T], n: usize) -> Vec<T> {
    let mut total = vec![T::ZERO; n];
    // A strip of columns per task; within it the rows in order.
    for_each_part(&mut total, 64, |start, part| {
        for row in x.chunks_exact(n) {
            part.iter_mut().zip(&row[start..]).for_each(|(total, &x)| *total += x);
        }
    });
    total
}
