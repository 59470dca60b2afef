//! What a run shows and records: the progress line, `metrics.jsonl`, the loss curve, and a tracker's files.

use anyhow::Result;
use scaling::alarms::TrainingAlarms;
use scaling::machine::resident_bytes;
use scaling::metrics_writer::{MetricsWriter, extend_row};
use scaling::tracker::Tracker;
use serde_json::{Value, json};
use tiny_gpt::RunFolder;
use tiny_gpt::progress::ProgressLine;

/// The figures of a step.
#[derive(Debug, Clone, Copy)]
pub struct SftStepMetrics {
    /// Counted from 1.
    pub step: usize,
    /// The mean of what is learned.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// Of the gradients, before clipping.
    pub grad_norm: f64,
    /// Tokens read.
    pub n_tokens: usize,
}

/// Shows a run and records it.
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
    /// Of a run of `steps` steps, in `warmup` of which the rate rises, that is at `step`; a row of figures every
    /// `interval`, and at the last step.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, warmup: usize, step: usize, interval: usize) -> Result<Self> {
        Ok(Self {
            progress: ProgressLine::resume_from(steps, step)?,
            metrics_writer: MetricsWriter::new([("loss", "training"), ("val_loss", "validation")]),
            steps,
            interval,
            alarms: TrainingAlarms::new(warmup),
            recent_losses: Vec::new(),
            n_tokens: 0,
        })
    }

    /// Records into `folder`, which has these rows, and `tracker`.
    pub fn record_to(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        self.n_tokens =
            rows.iter().filter_map(|row| row["tokens"].as_u64()).max().unwrap_or(0) as usize;
        self.metrics_writer = self.metrics_writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Says aloud what is wrong with a step, if anything is. What makes it pointless to go on comes back.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn check_alarms(
        &mut self,
        step: usize,
        loss: f64,
        rate: f64,
        norm: f64,
    ) -> Result<Option<String>> {
        let Some(alarm) = self.alarms.check(step, loss, rate, norm) else { return Ok(None) };
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))?;
        if !loss.is_finite() || !norm.is_finite() {
            return Ok(Some(alarm));
        }
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        Ok(None)
    }

    /// A step that was taken. Every so often the figures become a row, with `more` of what is learned beside them.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_step(&mut self, figures: &SftStepMetrics, more: Value) -> Result<()> {
        let SftStepMetrics { step, loss, lr: rate, grad_norm: norm, n_tokens: tokens } = *figures;
        self.progress.update(step - 1, loss as f32, tokens);
        self.n_tokens += tokens;
        self.recent_losses.push(loss);
        if !step.is_multiple_of(self.interval) && step != self.steps {
            return Ok(());
        }
        let mean = self.recent_losses.iter().sum::<f64>() / self.recent_losses.len() as f64;
        self.recent_losses.clear();
        let mut row = json!({
            "loss": mean, "lr": rate, "grad_norm": norm, "tokens": self.n_tokens,
            "tokens_per_s": self.tokens_per_second(),
            "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
        });
        extend_row(&mut row, more);
        self.metrics_writer.write_row(step, row)
    }

    /// What was found on validation examples after `step` steps: their loss, and `more` of it, which `said` tells.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_validation(
        &mut self,
        step: usize,
        loss: f64,
        said: &str,
        more: Value,
    ) -> Result<()> {
        let seen = self.n_tokens;
        self.progress.suspend(|| {
            println!("step {step}, {seen} tokens: validation loss {loss:.4}, {said}");
        });
        let mut row = json!({ "val_loss": loss });
        extend_row(&mut row, more);
        self.metrics_writer.write_row(step, row)?;
        self.metrics_writer.write_curves_svg("loss.svg", "loss, nats per token")
    }

    /// Runs `work` that is no step: its time does not count.
    pub fn run_untimed<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Tokens read per second so far, evaluation left out.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
