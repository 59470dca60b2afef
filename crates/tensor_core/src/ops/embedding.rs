//! Row lookup: row i of the result is row idᵢ of W. Its gradient adds each row's share back to the row it came from.

use candle_core::{Result, Tensor};

/// The rows of `weight: (V, C)` at `ids: (..)` (u32), as `(.., C)`.
///
/// # Errors
/// When an id is V or more.
pub fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (_v, c) = weight.dims2()?;
    let mut shape = ids.dims().to_vec();
    shape.push(c);
    weight.index_select(&ids.flatten_all()?, 0)?.reshape(shape) // (N, C) -> (.., C)
}
