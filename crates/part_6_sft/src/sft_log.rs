//! Log of a run: progress line, `metrics.jsonl`, loss curve, and tracker files.

use anyhow::Result;
use experiment::RunFolder;
use experiment::alarms::TrainingAlarms;
use experiment::machine::resident_bytes;
use experiment::metrics_writer::{MetricsWriter, extend_row};
use experiment::progress::ProgressLine;
use experiment::tracker::Tracker;
use serde_json::{Value, json};

/// Metrics of a training step.
#[derive(Debug, Clone, Copy)]
pub struct SftStepMetrics {
    /// Step, counted from 1.
    pub step: usize,
    /// Mean loss over the target tokens.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Number of input tokens.
    pub n_tokens: usize,
}

/// Progress line and metrics file of a run.
pub struct SftLog {
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    steps: usize,
    interval: usize,
    alarms: TrainingAlarms,
    recent_losses: Vec<f64>,
    n_tokens: usize,
}

impl SftLog {
    /// Log of a run of `steps` steps that has taken `step` of them, with `warmup_steps` of
    /// learning-rate warm-up. It writes a metrics row every `interval` steps and at the last step.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, warmup_steps: usize, step: usize, interval: usize) -> Result<Self> {
        Ok(Self {
            progress: ProgressLine::resume_from(steps, step)?,
            metrics_writer: MetricsWriter::new([("loss", "training"), ("val_loss", "validation")]),
            steps,
            interval,
            alarms: TrainingAlarms::new(warmup_steps),
            recent_losses: Vec::new(),
            n_tokens: 0,
        })
    }

    /// Writes the log into `folder`, which already holds `rows`, and into `tracker`.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        self.n_tokens =
            rows.iter().filter_map(|row| row["tokens"].as_u64()).max().unwrap_or(0) as usize;
        self.metrics_writer = self.metrics_writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Checks the metrics of a step, and prints an alarm if they are abnormal. If the loss or the
    /// gradient norm is not finite, the alarm is returned instead: the run must stop.
    ///
    /// # Errors
    /// When the alarm cannot be written.
    pub fn log_alarms(
        &mut self,
        step: usize,
        loss: f64,
        lr: f64,
        grad_norm: f64,
    ) -> Result<Option<String>> {
        let Some(alarm) = self.alarms.check(step, loss, lr, grad_norm) else { return Ok(None) };
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))?;
        if !loss.is_finite() || !grad_norm.is_finite() {
            return Ok(Some(alarm));
        }
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        Ok(None)
    }

    /// Logs a step. At the log interval it writes a metrics row, with the fields of `extra`.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_step(&mut self, metrics: &SftStepMetrics, extra: Value) -> Result<()> {
        let SftStepMetrics { step, loss, lr, grad_norm, n_tokens } = *metrics;
        self.progress.update(step - 1, loss as f32, n_tokens);
        self.n_tokens += n_tokens;
        self.recent_losses.push(loss);
        if !step.is_multiple_of(self.interval) && step != self.steps {
            return Ok(());
        }
        let mean = self.recent_losses.iter().sum::<f64>() / self.recent_losses.len() as f64;
        self.recent_losses.clear();
        let mut row = json!({
            "loss": mean, "lr": lr, "grad_norm": grad_norm, "tokens": self.n_tokens,
            "tokens_per_s": self.tokens_per_second(),
            "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
        });
        extend_row(&mut row, extra);
        self.metrics_writer.write_row(step, row)
    }

    /// Logs a validation after `step` steps: its loss with a printed `summary`, and a metrics row
    /// with the fields of `extra`.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn log_validation(
        &mut self,
        step: usize,
        loss: f64,
        summary: &str,
        extra: Value,
    ) -> Result<()> {
        let n_tokens = self.n_tokens;
        self.progress.suspend(|| {
            println!("step {step}, {n_tokens} tokens: validation loss {loss:.4}, {summary}");
        });
        let mut row = json!({ "val_loss": loss });
        extend_row(&mut row, extra);
        self.metrics_writer.write_row(step, row)?;
        self.metrics_writer.write_curves_svg("loss.svg", "loss, nats per token")
    }

    /// Runs `work` that is not a training step, such as evaluation: its time is not counted.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Input tokens per second so far, evaluation excluded.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    /// Ends the log and completes the tracker's files.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
