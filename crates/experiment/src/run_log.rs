//! Log of a run: progress line, `metrics.jsonl`, a plot of two curves, alarms, and a tracker's
//! files.

mod rows;

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use crate::RunFolder;
use crate::alarms::Alarm;
use crate::loss_curve::Curve;
use crate::metrics_writer::MetricsWriter;
use crate::progress::ProgressLine;
use crate::run_log_config::{LogState, RunLogConfig, StepMetrics};
use crate::tracker::Tracker;

/// Row of the newest step, as long as it is not written.
enum PendingRow {
    /// Means over the steps since the last row, with further fields.
    OfLosses(StepMetrics, Value),
    /// Fields of this step alone.
    OfStep(usize, Value),
}

/// Log of a run.
pub struct RunLog {
    config: RunLogConfig,
    progress: ProgressLine,
    /// Number of steps at the last row, and seconds of training in this process before it.
    last_row: (usize, f64),
    /// Newest step without a row.
    pending: Option<PendingRow>,
    writer: MetricsWriter,
    /// State that checkpoints keep.
    pub state: LogState,
}

impl RunLog {
    /// Log on the screen alone, of a run that has taken `step` steps.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(config: RunLogConfig, step: usize) -> Result<Self> {
        Ok(Self {
            config,
            progress: ProgressLine::resume_from(config.total_steps, step)?,
            last_row: (step, 0.),
            pending: None,
            writer: MetricsWriter::new(config.plot),
            state: LogState::default(),
        })
    }

    /// Log of the losses of a run of `steps` steps, on the screen alone.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn of_losses(steps: usize) -> Result<Self> {
        Self::new(RunLogConfig::losses(steps, steps / 20, steps), 0)
    }

    /// Log of a new run with these `settings` in the folder `path`, without a tracker.
    ///
    /// # Errors
    /// Those of [`RunFolder::create`].
    pub fn create(config: RunLogConfig, path: &Path, settings: &impl Serialize) -> Result<Self> {
        let folder = RunFolder::create(path, settings)?;
        Ok(Self::new(config, 0)?.with_run_folder(folder, Tracker::Disabled, &[]))
    }

    /// Log whose progress is not shown: that of a rank that is not the first.
    pub fn without_progress(mut self) -> Self {
        self.progress.hide();
        self
    }

    /// Writes the log into `folder`, which already holds `rows`, and into `tracker`.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        // Checkpoints of old runs lack the state of the log.
        let n_tokens = rows.iter().filter_map(|row| row["tokens"].as_u64()).max();
        self.state.n_tokens = n_tokens.unwrap_or(0) as usize;
        self.writer = self.writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Checks the loss, the gradient norm and the learning rate of a step, and raises an alarm if
    /// they are abnormal.
    ///
    /// # Errors
    /// With the alarm, when the loss or the norm is not finite: the run must stop.
    pub fn check(&mut self, metrics: &StepMetrics) -> Result<()> {
        let StepMetrics { step, loss, lr, grad_norm, .. } = *metrics;
        let (health, warmup_steps) = (&mut self.state.training_alarms, self.config.warmup_steps);
        let Some(alarm) = health.check(step, warmup_steps, loss, lr, grad_norm) else {
            return Ok(());
        };
        if !loss.is_finite() || !grad_norm.is_finite() {
            let message = format!("step {step}: {}", alarm.message);
            self.writer.write_row(step, json!({ "alarm": message }))?;
            bail!(message);
        }
        self.alarm(step, &alarm)
    }

    /// Prints an alarm of step `step` and writes it as a row, unless the run has raised it before
    /// and it is not much worse now: [`RaisedAlarms`](crate::alarms::RaisedAlarms).
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn alarm(&mut self, step: usize, alarm: &Alarm) -> Result<()> {
        let Some(text) = self.state.alarms.raise(step, alarm) else { return Ok(()) };
        self.progress.suspend(|| println!("ALARM: {text}"));
        self.writer.write_row(step, json!({ "alarm": text }))
    }

    /// Advances the progress line to `step`, which processed `n_tokens` tokens, and shows
    /// `metrics`.
    pub fn progress(&mut self, step: usize, metrics: &str, n_tokens: usize) {
        self.progress.update(step, metrics, n_tokens);
        self.state.n_tokens = self.state.n_tokens.saturating_add(n_tokens);
    }

    /// Writes a row of metrics after `step` steps.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn row(&mut self, step: usize, metrics: Value) -> Result<()> {
        self.writer.write_row(step, metrics)
    }

    /// Appends `rows` about completions, each with its `step`, to `completions.jsonl`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn completions(&mut self, rows: &[Value]) -> Result<()> {
        self.writer.write_completions(rows)
    }

    /// Logs a validation after `step` steps: prints `summary`, writes a row and draws the plot.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn validation(&mut self, step: usize, summary: &str, metrics: Value) -> Result<()> {
        self.progress.suspend(|| println!("step {step}{summary}"));
        self.writer.write_row(step, metrics)?;
        self.writer.write_plot()
    }

    /// Curve of the validation metric of the plot so far.
    pub fn validation_curve(&self) -> &Curve {
        self.writer.validation_curve()
    }

    /// Tracker, for texts and histograms; `None` without a run folder.
    pub fn tracker(&mut self) -> Option<&mut Tracker> {
        self.writer.tracker()
    }

    /// Runs `work` that is not a training step, such as evaluation: its time is not counted.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Tokens per second so far, evaluation excluded.
    pub fn tokens_per_second(&self) -> f64 {
        self.progress.tokens_per_second()
    }

    /// Ends the log, and with it the progress line, and completes the tracker's files. Returns the
    /// tokens per second of the run.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(self) -> Result<f64> {
        let tokens_per_second = self.tokens_per_second();
        self.writer.finish()?;
        Ok(tokens_per_second)
    }
}
