//! One form for the complaints of all operations: the operation, what is wrong, and every input.

use candle_core::{Result, Tensor, bail};

/// Demands that all `inputs` hold floating-point numbers of one type on one device, and that their shapes go together (`fit`).
pub(crate) fn check(op: &str, inputs: &[(&str, &Tensor)], fit: bool) -> Result<()> {
    let (_, first) = inputs[0];
    let problem = if inputs.iter().any(|(_, x)| x.elem_count() == 0) {
        "an empty tensor"
    } else if inputs.iter().any(|(_, x)| !x.dtype().is_float()) {
        "not floating-point numbers"
    } else if inputs.iter().any(|(_, x)| x.dtype() != first.dtype()) {
        "types differ"
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
