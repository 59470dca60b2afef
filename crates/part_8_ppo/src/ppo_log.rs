//! 8.4 What a run shows and records: the progress line, `metrics.jsonl`, the curve of scores, and a tracker's files.

use anyhow::Result;
use scaling::machine::resident_bytes;
use scaling::metrics_writer::{MetricsWriter, extend_row};
use scaling::tracker::Tracker;
use serde_json::{Value, json};
use tiny_gpt::RunFolder;
use tiny_gpt::progress::ProgressLine;

/// Shows a run and records it.
pub struct PpoLog {
    progress: ProgressLine,
    metrics_writer: MetricsWriter,
    steps: usize,
    interval: usize,
}

impl PpoLog {
    /// Of a run of `steps` steps that is at `step`; a row of figures every `interval`, and at the last step.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, step: usize, interval: usize) -> Result<Self> {
        let progress = ProgressLine::resume_from(steps, step)?;
        let curves = [("reward_mean", "rollouts"), ("val_reward", "validation, likeliest answers")];
        Ok(Self { progress, metrics_writer: MetricsWriter::new(curves), steps, interval })
    }

    /// Records into `folder`, which has these rows, and `tracker`.
    pub fn record_to(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        self.metrics_writer = self.metrics_writer.with_run_folder(folder, tracker, rows);
        self
    }

    /// Whether the figures of step `step` become a row.
    pub fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.interval) || step == self.steps
    }

    /// A step that was taken, whose responses scored `reward` on average and had `tokens` tokens. Every so often its figures
    /// become a row.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_step(
        &mut self,
        step: usize,
        reward: f64,
        tokens: usize,
        figures: [Value; 2],
    ) -> Result<()> {
        self.progress.update_with_message(step - 1, &format!("reward {reward:.3}"), tokens);
        if !self.is_due(step) {
            return Ok(());
        }
        let memory = resident_bytes().map(|bytes| bytes / 1_000_000);
        let mut row = json!({ "reward_mean": reward, "memory_mb": memory });
        figures.into_iter().for_each(|figures| extend_row(&mut row, figures));
        self.metrics_writer.write_row(step, row)
    }

    /// How the scores of a step are spread, and some of its responses, as a Markdown table.
    ///
    /// # Errors
    /// When they cannot be recorded.
    pub fn log_completions(&mut self, step: usize, scores: &[f64], table: &str) -> Result<()> {
        let Some(tracker) = self.metrics_writer.tracker() else { return Ok(()) };
        let scores: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        tracker.log_histogram(step, "reward", &scores)?;
        tracker.log_text(step, "samples", table)
    }

    /// Says aloud what is wrong.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_alarm(&mut self, step: usize, alarm: &str) -> Result<()> {
        self.progress.suspend(|| println!("ALARM: {alarm}"));
        self.metrics_writer.write_row(step, json!({ "alarm": alarm }))
    }

    /// What was found on validation questions after `step` steps: the mean score, and `figures` of it, which `said` tells.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn log_validation(
        &mut self,
        step: usize,
        reward: f64,
        said: &str,
        figures: Value,
    ) -> Result<()> {
        self.progress.suspend(|| println!("step {step}: validation reward {reward:.3}, {said}"));
        let mut row = json!({ "val_reward": reward });
        extend_row(&mut row, figures);
        self.metrics_writer.write_row(step, row)?;
        self.metrics_writer.write_curves_svg("reward.svg", "mean score")
    }

    /// Runs `work` that is no step: its time does not count.
    pub fn run_untimed<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.suspend(work)
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.metrics_writer.finish()
    }
}
