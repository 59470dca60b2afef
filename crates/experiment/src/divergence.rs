//! Divergence: a loss or a gradient that is not finite ends the run before it reaches the weights.

use anyhow::{Result, ensure};

/// Checks the `loss` and the gradient norm of a step, before the optimizer step. `flags` are those
/// whose values may be too large.
///
/// Parts 4, 6 and 7 call [`RunLog::check`](crate::RunLog::check) instead, which does the same and
/// compares the norm with earlier ones. In reinforcement learning norms differ too much for that.
///
/// # Errors
/// When one of them is not finite.
pub fn ensure_finite(step: usize, loss: f64, grad_norm: f64, flags: &str) -> Result<()> {
    ensure!(
        loss.is_finite() && grad_norm.is_finite(),
        "step {step}: the loss is {loss}, the gradient norm {grad_norm}; try a smaller {flags}"
    );
    Ok(())
}
