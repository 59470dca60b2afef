//! 8.4 Run log: the progress line, `metrics.jsonl`, the reward curve, and a tracker's files.

use anyhow::Result;
use experiment::RunFolder;
use experiment::machine::resident_bytes;
use experiment::metrics_writer::{MetricsWriter, extend_row};
use experiment::progress::ProgressLine;
use experiment::tracker::Tracker;
use serde_json::{Value, json};

/// Log of a PPO run.
pub struct PpoLog {
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    steps: usize,
    interval: usize,
}

impl PpoLog {
    /// Log of a run of `steps` steps that is at `step`, with a row of metrics every `interval`
    /// steps and at the last step.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, step: usize, interval: usize) -> Result<Self> {
        let progress = ProgressLine::resume_from(steps, step)?;
        let curves = [("reward_mean", "rollouts"), ("val_reward", "validation, greedy")];
        Ok(Self { progress, metrics_writer: MetricsWriter::new(curves), steps, interval })
    }

    /// Writes into `folder`, which already has `rows`, and to `tracker`.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        self.metrics_writer = self.metrics_writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Whether step `step` writes a row of metrics.
    pub fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.interval) || step == self.steps
    }

    /// Logs step `step` with mean `reward` and `tokens` sampled tokens; `metrics` become a row if
    /// one is due.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_step(
        &mut self,
        step: usize,
        reward: f64,
        tokens: usize,
        metrics: [Value; 2],
    ) -> Result<()> {
        self.progress.update_with_message(step - 1, &format!("reward {reward:.3}"), tokens);
        if !self.is_due(step) {
            return Ok(());
        }
        let memory = resident_bytes().map(|bytes| bytes / 1_000_000);
        let mut row = json!({ "reward_mean": reward, "memory_mb": memory });
        metrics.into_iter().for_each(|metrics| extend_row(&mut row, metrics));
        self.metrics_writer.write_row(step, row)
    }

    /// Logs the histogram of a step's rewards and a Markdown table of some completions.
    ///
    /// # Errors
    /// When they cannot be recorded.
    pub fn log_completions(&mut self, step: usize, rewards: &[f64], table: &str) -> Result<()> {
        let Some(tracker) = self.metrics_writer.tracker() else { return Ok(()) };
        let rewards: Vec<f32> = rewards.iter().map(|&reward| reward as f32).collect();
        tracker.log_histogram(step, "reward", &rewards)?;
        tracker.log_text(step, "samples", table)
    }

    /// Prints and records an alarm.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_alarm(&mut self, step: usize, alarm: &str) -> Result<()> {
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))
    }

    /// Logs a validation after `step` steps: its mean reward, the `summary` to print and further
    /// `metrics`.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_validation(
        &mut self,
        step: usize,
        reward: f64,
        summary: &str,
        metrics: Value,
    ) -> Result<()> {
        self.progress.suspend(|| println!("step {step}: validation reward {reward:.3}, {summary}"));
        let mut row = json!({ "val_reward": reward });
        extend_row(&mut row, metrics);
        self.metrics_writer.write_row(step, row)?;
        self.metrics_writer.write_curves_svg("reward.svg", "mean reward")
    }

    /// Runs `work` outside the steps: its time does not count as training time.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// Completes the tracker's files at the end of the run.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
