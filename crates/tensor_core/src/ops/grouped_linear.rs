//! Grouped linear layer: rows come in groups, and each group has a weight of its own.
//!
//! Rows of one group are contiguous, so each group is one matrix product, forward and backward, for
//! any group sizes. The experts of a mixture of experts are computed this way (MegaBlocks, Gale et
//! al., <https://arxiv.org/abs/2211.15841>).

use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;

use super::dispatch::{check, check_mixed, fused_or_reference};
use super::linear;
use crate::graph::record_all;
use crate::kernels::matrix::Matrix;
use crate::kernels::{LinearProducts, RoundedToBf16, sum_of_rows, tensor_like, values};

/// Weight of a group, and its bias if there is one.
pub type GroupWeights<'a> = (&'a Tensor, Option<&'a Tensor>);

/// Maps `x: (N, in)` to `(N, out)`: the first `counts[0]` rows by the weight `(out, in)` and the
/// bias `(out)` of the first group, the next `counts[1]` rows by those of the second, and so on.
/// Groups may be empty.
///
/// # Errors
/// When shapes do not fit, only some groups have a bias, or the counts do not add up to N.
pub fn grouped_linear(x: &Tensor, groups: &[GroupWeights<'_>], counts: &[usize]) -> Result<Tensor> {
    check_groups("grouped_linear", x, groups, counts)?;
    for (weight, _) in groups {
        check("grouped_linear", &[("x", x), ("weight", *weight)], true)?;
    }
    fused_or_reference!(x, groups, counts)
}

/// [`grouped_linear`] in mixed precision, as [`linear::linear_bf16`] is
/// [`linear`](fn@linear::linear): x, biases and the result are f32, and the weights all f32 or all
/// bf16.
///
/// # Errors
/// When shapes, devices or dtypes do not fit, or the counts do not add up to N.
pub fn grouped_linear_bf16(
    x: &Tensor,
    groups: &[GroupWeights<'_>],
    counts: &[usize],
) -> Result<Tensor> {
    check_groups("grouped_linear_bf16", x, groups, counts)?;
    let dtypes: Vec<DType> = groups.iter().map(|(weight, _)| weight.dtype()).collect();
    let are_equal = dtypes.iter().all(|&dtype| dtype == dtypes[0]);
    match (x.device(), x.dtype(), dtypes[0]) {
        (Device::Cpu, DType::F32, DType::F32) if are_equal => {
            fused::<RoundedToBf16<f32>>(x, groups, counts)
        }
        (Device::Cpu, DType::F32, DType::BF16) if are_equal => {
            fused::<RoundedToBf16<bf16>>(x, groups, counts)
        }
        (device, x, _) => bail!(
            "grouped_linear_bf16: x in {x:?} and weights in {dtypes:?} on {:?}, expected f32, and \
             all f32 or all bf16, on the CPU",
            device.location()
        ),
    }
}

/// Checks all but the dtypes.
fn check_groups(op: &str, x: &Tensor, groups: &[GroupWeights<'_>], counts: &[usize]) -> Result<()> {
    let (n, n_in) = x.dims2()?;
    let Some((first, first_bias)) = groups.first() else { bail!("{op}: no groups") };
    let (n_out, _) = first.dims2()?;
    for (weight, bias) in groups {
        let inputs = [Some(("x", x)), Some(("weight", *weight)), bias.map(|bias| ("bias", bias))];
        let inputs: Vec<_> = inputs.into_iter().flatten().collect();
        let fit = weight.dims() == [n_out, n_in]
            && bias.is_some() == first_bias.is_some()
            && bias.is_none_or(|bias| bias.dims() == [n_out]);
        check_mixed(op, &inputs, fit)?;
    }
    if counts.len() != groups.len() || counts.iter().sum::<usize>() != n {
        bail!("{op}: {n} rows in groups of {counts:?} for {} weights", groups.len());
    }
    Ok(())
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, groups: &[GroupWeights<'_>], counts: &[usize]) -> Result<Tensor> {
    let mut start = 0;
    let mut parts = Vec::new();
    for ((weight, bias), &count) in groups.iter().zip(counts) {
        if count > 0 {
            parts.push(linear::reference(&x.narrow(0, start, count)?, weight, *bias)?);
        }
        start += count;
    }
    Tensor::cat(&parts, 0) // (N, out)
}

fn fused<P: LinearProducts>(
    x: &Tensor,
    groups: &[GroupWeights<'_>],
    counts: &[usize],
) -> Result<Tensor> {
    let (n, n_in) = x.dims2()?;
    let (n_out, _) = groups[0].0.dims2()?;
    let x = x.contiguous()?;
    let weights = groups.iter().map(|(weight, _)| weight.contiguous());
    let weights = weights.collect::<Result<Vec<_>>>()?;
    let biases = groups.iter().filter_map(|(_, bias)| bias.map(Tensor::contiguous));
    let biases = biases.collect::<Result<Vec<_>>>()?;
    let mut y = Vec::with_capacity(n * n_out);
    {
        let mut rest = &values::<P::Number>(&x)?[..];
        for (i, (weight, &count)) in weights.iter().zip(counts).enumerate() {
            let (rows, after) = rest.split_at(count * n_in);
            rest = after;
            let bias = biases.get(i).map(values::<P::Number>).transpose()?;
            P::append_outputs(&mut y, rows, &values(weight)?, n_in, bias.as_deref());
        }
    }
    let inputs: Vec<&Tensor> = [&x].into_iter().chain(&weights).chain(&biases).collect();
    let saved = (x.detach(), weights.iter().map(Tensor::detach).collect::<Vec<_>>());
    let counts = counts.to_vec();
    record_all("grouped_linear", &inputs, y, (n, n_out), move |grad, needed| {
        backward::<P>(&saved.0, &saved.1, &counts, grad, needed)
    })
}

/// Gradients of x, of the weights, and of the biases (as many as `needed` has further entries).
fn backward<P: LinearProducts>(
    x: &Tensor,
    weights: &[Tensor],
    counts: &[usize],
    grad: &Tensor,
    needed: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let ((n, n_in), (_n, n_out)) = (x.dims2()?, grad.dims2()?);
    let (x_values, grad_values) = (values::<P::Number>(x)?, values::<P::Number>(grad)?);
    let mut grad_x = Vec::with_capacity(if needed[0] { n * n_in } else { 0 });
    let (mut grad_weights, mut grad_biases) = (Vec::new(), Vec::new());
    let (needs_weight, needs_bias) = needed[1..].split_at(weights.len());
    let mut start = 0;
    for (i, (weight, &count)) in weights.iter().zip(counts).enumerate() {
        let rows = &x_values[start * n_in..][..count * n_in];
        let grad = &grad_values[start * n_out..][..count * n_out];
        let grads = Matrix::new(grad, count, n_out);
        if needed[0] && count > 0 {
            P::append_grad_x(&mut grad_x, grads, Matrix::new(&values(weight)?, n_out, n_in));
        }
        let grad_weight = needs_weight[i].then(|| {
            let grad_weight = P::grad_weight(grads, Matrix::new(rows, count, n_in));
            tensor_like(grad_weight, weight)?.to_dtype(weight.dtype())
        });
        grad_weights.push(grad_weight.transpose()?);
        if let Some(needs_bias) = needs_bias.get(i) {
            let sum = || Tensor::from_vec(sum_of_rows::<P::Number>(grad, n_out), n_out, x.device());
            grad_biases.push(needs_bias.then(sum).transpose()?);
        }
        start += count;
    }
    let grad_x = needed[0].then(|| tensor_like(grad_x, x)).transpose()?;
    Ok([grad_x].into_iter().chain(grad_weights).chain(grad_biases).collect())
}
