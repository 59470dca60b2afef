//! Row lookup: row i of the result is row idᵢ of W. The backward pass adds the gradient of each row
//! to the row that it came from.

use candle_core::{DType, Result, Tensor, bail};

use super::dispatch::{check, fused_or_reference};
use crate::graph::record;
use crate::kernels::{Float, GRAIN, build, new_rows, tensor_like, values};

/// Rows of `weight: (V, C)` at the integers `ids: (..)`, as `(.., C)`.
///
/// # Errors
/// When there are no ids, they are not integers, or one is negative or at least V, which is checked
/// [on the CPU only](crate::ops#ids-and-targets-on-a-gpu).
pub fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (_v, _c) = weight.dims2()?;
    check("embedding", &[("weight", weight)], true)?;
    if ids.elem_count() == 0 || !ids.dtype().is_int() || !ids.device().same_device(weight.device())
    {
        let (ids, weight) = ((ids.dims(), ids.dtype(), ids.device().location()), weight.dims());
        bail!("embedding: ids {ids:?} do not select rows of weight {weight:?}");
    }
    fused_or_reference!(weight, ids)
}

/// Reference implementation from plain tensor operations.
pub fn reference(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (v, c) = weight.dims2()?;
    let ids = match ids.device().is_cpu() {
        true => &Tensor::from_vec(row_ids(ids, v)?, ids.shape(), ids.device())?,
        false => ids,
    };
    weight.contiguous()?.index_select(&ids.flatten_all()?, 0)?.reshape([ids.dims(), &[c]].concat())
}

/// Ids as integers, checked to be rows of a weight that has `v`.
pub(crate) fn row_ids(ids: &Tensor, v: usize) -> Result<Vec<i64>> {
    if !ids.dtype().is_int() {
        bail!("embedding: ids {:?} ({:?}) are not integers", ids.dims(), ids.dtype());
    }
    let ids: Vec<i64> = ids.flatten_all()?.to_dtype(DType::I64)?.to_vec1()?;
    match ids.iter().find(|id| !(0..v as i64).contains(id)) {
        Some(id) => bail!("embedding: id {id} lies outside the {v} rows of the weight"),
        None => Ok(ids),
    }
}

fn fused<T: Float>(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (v, c) = weight.dims2()?;
    let shape = [ids.dims(), &[c]].concat();
    let ids = row_ids(ids, v)?;
    let weight = weight.contiguous()?;
    let y = gather::<T>(&values(&weight)?, &ids, c);
    record("embedding", [&weight], y, shape, {
        let weight = weight.detach();
        move |grad, _| {
            let sum = scatter_add::<T>(&values(grad)?, &ids, v, c);
            Ok([Some(tensor_like(sum, &weight)?)])
        }
    })
}

fn gather<T: Float>(weight: &[T], ids: &[i64], c: usize) -> Vec<T> {
    new_rows!(ids.len(), c, |row, y| y.copy_of(&weight[ids[row] as usize * c..]))
}

/// Each task owns a range of the table's rows and scans all ids for them, so that each sum has a
/// fixed order.
fn scatter_add<T: Float>(grad: &[T], ids: &[i64], v: usize, c: usize) -> Vec<T> {
    const TASKS: usize = 64; // upper limit, as every task reads all ids
    let rows = v.div_ceil(TASKS).max(GRAIN.div_ceil(c));
    let [sum] = build([(v * c, rows * c)], |i, [sum]| {
        let mut sum = sum.zeroed();
        let first = (i * rows) as i64;
        let end = first + (sum.len() / c) as i64;
        for (grad, &id) in grad.chunks_exact(c).zip(ids) {
            if (first..end).contains(&id) {
                let row = &mut sum[(id - first) as usize * c..][..c];
                row.iter_mut().zip(grad).for_each(|(sum, &grad)| *sum += grad);
            }
        }
        [sum]
    });
    sum
}
