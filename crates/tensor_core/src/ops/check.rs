//! Input checks of all operations. The error message names the operation, the problem and every
//! input.

use candle_core::{Result, Tensor, bail};

/// Checks that all `inputs` are floating-point tensors of one dtype on one device, not empty, and
/// that their shapes match (`fit`).
pub(crate) fn check(op: &str, inputs: &[(&str, &Tensor)], fit: bool) -> Result<()> {
    let (_, first) = inputs[0];
    let problem = if inputs.iter().any(|(_, x)| x.elem_count() == 0) {
        "an empty tensor"
    } else if inputs.iter().any(|(_, x)| !x.dtype().is_float()) {
        "expected floating-point tensors"
    } else if inputs.iter().any(|(_, x)| x.dtype() != first.dtype()) {
        "dtypes differ"
    } else if inputs.iter().any(|(_, x)| !x.device().same_device(first.device())) {
        "devices differ"
    } else if !fit {
        "shapes do not fit"
    } else {
        return Ok(());
    };
    let inputs = inputs.iter().map(|(name, x)| {
        format!("{name} {:?} ({:?}, {:?})", x.dims(), x.dtype(), x.device().location())
    });
    bail!("{op}: {problem}: {}", inputs.collect::<Vec<_>>().join(", "))
}
