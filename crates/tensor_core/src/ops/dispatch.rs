//! What every operation does before it computes: it checks its inputs, and chooses between its
//! fused and its reference implementation.

use candle_core::{Result, Tensor, bail};

pub(super) use crate::precision::in_f32;

/// Checks that all `inputs` are floating-point tensors of one dtype on one device, not empty, and
/// that their shapes match (`fit`). The error message names the operation, the problem and every
/// input.
pub(super) fn check(op: &str, inputs: &[(&str, &Tensor)], fit: bool) -> Result<()> {
    let (_, first) = inputs[0];
    let differs = inputs.iter().any(|(_, x)| x.dtype() != first.dtype());
    check_inputs(op, inputs, differs.then_some("dtypes differ"), fit)
}

/// [`check`] for inputs in different dtypes.
pub(super) fn check_mixed(op: &str, inputs: &[(&str, &Tensor)], fit: bool) -> Result<()> {
    check_inputs(op, inputs, None, fit)
}

fn check_inputs(
    op: &str,
    inputs: &[(&str, &Tensor)],
    dtype_problem: Option<&str>,
    fit: bool,
) -> Result<()> {
    let (_, first) = inputs[0];
    let problem = if inputs.iter().any(|(_, x)| x.elem_count() == 0) {
        "an empty tensor"
    } else if inputs.iter().any(|(_, x)| !x.dtype().is_float()) {
        "expected floating-point tensors"
    } else if let Some(problem) = dtype_problem {
        problem
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

/// `fused_or_reference!(x, argument)` is `fused::<T>(x, argument)` of the calling file, with T the
/// element type of x, if there are fused loops for the device and dtype of x, and otherwise
/// `reference(x, argument)`.
macro_rules! fused_or_reference {
    ($x:expr $(, $argument:expr)*) => {
        if $crate::kernels::has_fused_loops($x) {
            $crate::kernels::by_type!($x, fused($x $(, $argument)*))
        } else {
            reference($x $(, $argument)*)
        }
    };
}
pub(super) use fused_or_reference;
