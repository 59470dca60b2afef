//! Weighted sums of scattered rows: row n of the result is Σⱼ wₙⱼ · rows(positionₙⱼ), where a
//! position may be missing.
//!
//! grad rows(positionₙⱼ) = wₙⱼ · gradₙ, grad wₙⱼ = gradₙ · rows(positionₙⱼ): one pass over the rows
//! each. A mixture of experts combines the outputs of its experts this way (GShard, Lepikhin et
//! al., <https://arxiv.org/abs/2006.16668>).

use candle_core::{Result, Tensor, bail};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::at_least_f32;
use crate::graph::record;
use crate::kernels::{Float, new_rows, reduce_rows, sum, tensor_like, values};

/// Sums rows of `rows: (M, C)` with `weights: (N, K)`, giving `(N, C)`. `positions` holds the row
/// of each weight, or `None`, which adds nothing. A row may have at most one weight.
///
/// # Errors
/// When shapes do not fit, or a row is used twice or does not exist.
pub fn scatter_combine(
    rows: &Tensor,
    weights: &Tensor,
    positions: &[Option<u32>],
) -> Result<Tensor> {
    let ((m, _c), (n, k)) = (rows.dims2()?, weights.dims2()?);
    let fit = positions.len() == n * k;
    check("combine", &[("rows", rows), ("weights", weights)], fit)?;
    let mut used = vec![false; m];
    for &at in positions.iter().flatten() {
        match used.get_mut(at as usize) {
            Some(used) if !*used => *used = true,
            _ => bail!("combine: row {at} of {m} does not exist or is used twice"),
        }
    }
    fused_or_reference!(rows, weights, positions)
}

/// Reference implementation from plain tensor operations.
pub fn reference(rows: &Tensor, weights: &Tensor, positions: &[Option<u32>]) -> Result<Tensor> {
    let ((_m, c), (n, k)) = (rows.dims2()?, weights.dims2()?);
    let device = rows.device();
    let at = positions.iter().map(|position| position.unwrap_or(0));
    let at = Tensor::from_iter(at, device)?;
    let is_present = positions.iter().map(|position| f32::from(u8::from(position.is_some())));
    let is_present = Tensor::from_iter(is_present, device)?.reshape((n, k))?;
    in_f32(rows, |rows| {
        let weights = (at_least_f32(weights)? * is_present.to_dtype(rows.dtype())?)?;
        let rows = rows.contiguous()?.index_select(&at, 0)?.reshape((n, k, c))?;
        rows.broadcast_mul(&weights.unsqueeze(2)?)?.sum(1) // (N, K, C) -> (N, C)
    })
}

fn fused<T: Float>(rows: &Tensor, weights: &Tensor, positions: &[Option<u32>]) -> Result<Tensor> {
    let ((m, c), (n, k)) = (rows.dims2()?, weights.dims2()?);
    let (rows, weights) = (rows.contiguous()?, weights.contiguous()?);
    let y = forward::<T>(&values(&rows)?, &values(&weights)?, positions, c, k);
    let saved = (rows.detach(), weights.detach(), positions.to_vec());
    record("combine", [&rows, &weights], y, (n, c), move |grad, [needs_rows, needs_weights]| {
        let (rows, weights, positions) = saved;
        let grad = values::<T>(grad)?;
        let grad_rows = needs_rows.then(|| {
            let weights = values::<T>(&weights)?;
            tensor_like(grads_of_rows(&weights, &positions, &grad, m, c), &rows)
        });
        let grad_weights = needs_weights.then(|| {
            let rows = values::<T>(&rows)?;
            tensor_like(grads_of_weights(&rows, &positions, &grad, c), &weights)
        });
        Ok([grad_rows.transpose()?, grad_weights.transpose()?])
    })
}

fn forward<T: Float>(
    rows: &[T],
    weights: &[T],
    positions: &[Option<u32>],
    c: usize,
    k: usize,
) -> Vec<T> {
    new_rows!(positions.len() / k, c, |n, y| {
        let mut y = y.zeroed();
        let slots = n * k..(n + 1) * k;
        for (&w, at) in weights[slots.clone()].iter().zip(&positions[slots]) {
            if let Some(at) = at {
                let row = &rows[*at as usize * c..][..c];
                y.iter_mut().zip(row).for_each(|(y, &x)| *y += w * x);
            }
        }
        y
    })
}

/// Each of the `m` rows has at most one weight, so no gradients are added up; a row without a
/// weight gets zeros.
fn grads_of_rows<T: Float>(
    weights: &[T],
    positions: &[Option<u32>],
    grad: &[T],
    m: usize,
    c: usize,
) -> Vec<T> {
    let k = positions.len() * c / grad.len(); // weights per row of the gradient
    let mut slots = vec![None; m]; // index of each row's weight
    for (slot, at) in positions.iter().enumerate() {
        if let Some(at) = at {
            slots[*at as usize] = Some(slot);
        }
    }
    new_rows!(m, c, |row, out| match slots[row] {
        Some(slot) => {
            let w = weights[slot];
            out.fill([&grad[slot / k * c..][..c]], |[g]| w * g)
        }
        None => out.zeroed(),
    })
}

fn grads_of_weights<T: Float>(
    rows: &[T],
    positions: &[Option<u32>],
    grad: &[T],
    c: usize,
) -> Vec<T> {
    let k = positions.len() * c / grad.len(); // weights per row of the gradient
    reduce_rows!(positions.len(), c, |slot| match positions[slot] {
        Some(at) => {
            let row = &rows[at as usize * c..][..c];
            sum([row, &grad[slot / k * c..][..c]], |[x, g]| x * g)
        }
        None => T::ZERO,
    })
}
