//! Rows of metrics of training steps: means over the steps since the last row, or the fields of a
//! step alone.

use anyhow::Result;
use candle_core::{DType, Tensor};
use serde_json::{Value, json};
use tensor_core::Parameters;

use super::{PendingRow, RunLog};
use crate::machine::{device_bytes, memory_mb};
use crate::metrics_writer::extend_row;
use crate::run_log_config::StepMetrics;
use crate::statistics;

impl RunLog {
    /// True if step `step` has a row of metrics.
    pub fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.config.interval) || step == self.config.total_steps
    }

    /// Logs a step of training. If a row is due, it has the mean loss since the last row, and the
    /// fields of `extra`.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn step(&mut self, metrics: &StepMetrics, extra: Value) -> Result<()> {
        let StepMetrics { step, loss, n_tokens, .. } = *metrics;
        self.progress(step, &format!("loss {loss:.4}"), n_tokens);
        self.state.recent_losses.push(loss);
        self.pending = Some(PendingRow::OfLosses(*metrics, extra));
        self.write_row_if_due(step)
    }

    /// Logs the fields of step `step` in a row, if one is due; [`write_pending_row`] writes those
    /// of a last step that is not.
    ///
    /// [`write_pending_row`]: Self::write_pending_row
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn row_of_step(&mut self, step: usize, fields: Value) -> Result<()> {
        self.pending = Some(PendingRow::OfStep(step, fields));
        self.write_row_if_due(step)
    }

    fn write_row_if_due(&mut self, step: usize) -> Result<()> {
        match self.is_due(step) {
            true => self.write_pending_row(),
            false => Ok(()),
        }
    }

    /// Writes the row of the steps since the last one, if there are any. A run that is over before
    /// its last step, at its target or out of patience, calls it at its end; one that is stopped
    /// and can be resumed does not, as its checkpoint has those steps.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn write_pending_row(&mut self) -> Result<()> {
        let (StepMetrics { step, lr, grad_norm, .. }, extra) = match self.pending.take() {
            None => return Ok(()),
            Some(PendingRow::OfLosses(metrics, extra)) => (metrics, extra),
            Some(PendingRow::OfStep(step, mut row)) => {
                let (step_time, memory) = (self.step_time(step), memory_mb());
                extend_row(&mut row, json!({ "step_time_s": step_time, "memory_mb": memory }));
                return self.row(step, row);
            }
        };
        let losses = std::mem::take(&mut self.state.recent_losses);
        let mut row = json!({
            "loss": statistics::mean(&losses), "lr": lr, "grad_norm": grad_norm,
            "tokens": self.state.n_tokens, "tokens_per_s": self.tokens_per_second(),
            "step_time_s": self.step_time(step), "memory_mb": memory_mb(),
        });
        if let Some(bytes) = device_bytes() {
            row["device_memory_mb"] = json!(bytes / 1_000_000);
        }
        if let Some(mfu) = self.config.mfu_per_token_per_s {
            row["mfu"] = json!(mfu * self.tokens_per_second());
        }
        extend_row(&mut row, extra);
        self.row(step, row)
    }

    /// Mean seconds per step since the last call, evaluation excluded; call it once per row.
    pub fn step_time(&mut self, step: usize) -> f64 {
        let (last_step, last_seconds) = self.last_row;
        let seconds = self.progress.seconds();
        self.last_row = (step, seconds);
        (seconds - last_seconds) / step.saturating_sub(last_step).max(1) as f64
    }

    /// L2 norm of the trained `parameters`, if step `step` has a row of metrics: a norm that grows
    /// without end says that the weight decay is too small or the learning rate too large.
    ///
    /// # Errors
    /// When the parameters cannot be read from their device.
    pub fn param_norm(&self, step: usize, parameters: &Parameters) -> Result<Option<f64>> {
        Ok(self.is_due(step).then(|| norm(parameters)).transpose()?)
    }
}

/// L2 norm of the trainable `parameters`, summed on their device and read once.
fn norm(parameters: &Parameters) -> candle_core::Result<f64> {
    let mut sum_of_squares = Tensor::zeros((), DType::F64, parameters.device())?;
    for parameter in parameters.trainable() {
        let weights = parameter.var.as_detached_tensor().to_dtype(DType::F64)?;
        sum_of_squares = (sum_of_squares + weights.sqr()?.sum_all()?)?;
    }
    Ok(sum_of_squares.to_scalar::<f64>()?.sqrt())
}
