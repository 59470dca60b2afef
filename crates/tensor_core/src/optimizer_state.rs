//! Tensors of an optimizer's state in a checkpoint, by the name of their parameter.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};

/// End of the name of AdamW's first moment.
pub(crate) const FIRST: &str = "first";
/// End of the name of Muon's momentum.
pub(crate) const MOMENTUM: &str = "momentum";

/// Takes the tensor `parameter.what` out of `state`, converted to `dtype`.
///
/// # Errors
/// Names a tensor that is missing, misshapen, or saved by another optimizer.
pub(crate) fn take_tensor(
    state: &mut BTreeMap<String, Tensor>,
    parameter: &str,
    what: &str,
    dims: &[usize],
    dtype: DType,
) -> Result<Tensor> {
    let name = format!("{parameter}.{what}");
    let Some(tensor) = state.remove(&name) else {
        let other = if what == MOMENTUM { FIRST } else { MOMENTUM };
        let other = format!("{parameter}.{other}");
        if state.contains_key(&other) {
            bail!("optimizer state has `{other}` in place of `{name}`: another --optim");
        }
        bail!("optimizer state `{name}` is missing");
    };
    if (tensor.dtype() == DType::U8) != (dtype == DType::U8) {
        bail!("optimizer state `{name}` is {:?}: another --optim", tensor.dtype());
    }
    if tensor.dims() != dims {
        bail!("optimizer state `{name}` has shape {:?}", tensor.dims());
    }
    tensor.to_dtype(dtype)
}
