//! 8.4 What a run shows and records: the progress line, `metrics.jsonl`, the curve of scores, and a tracker's files.

use anyhow::Result;
use scaling::machine::resident_bytes;
use scaling::tracker::Tracker;
use serde_json::{Map, Value, json};
use tiny_gpt::RunFolder;
use tiny_gpt::loss_curve::{self, Curve};
use tiny_gpt::progress::Progress;

/// Shows a run and records it.
pub struct RunLog {
    progress: Progress,
    record: Option<(RunFolder, Tracker)>,
    interval: usize,
    curves: [Curve; 2],
}

impl RunLog {
    /// Of a run of `steps` steps that is at `step`; a row of figures every `interval`.
    ///
    /// # Errors
    /// Never in practice: the progress bar's template is fixed.
    pub fn new(steps: usize, step: usize, interval: usize) -> Result<Self> {
        let progress = Progress::resumed(steps, step)?;
        let curves = [Curve::new("rollouts"), Curve::new("validation, likeliest answers")];
        Ok(Self { progress, record: None, interval, curves })
    }

    /// Records into `folder`, which has these rows, and `tracker`.
    pub fn record(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        for (curve, key) in self.curves.iter_mut().zip(["reward_mean", "val_reward"]) {
            for row in rows {
                if let (Some(step), Some(value)) = (row["step"].as_u64(), row[key].as_f64()) {
                    curve.push(step as usize, value);
                }
            }
        }
        self.record = Some((folder, tracker));
        self
    }

    /// Whether the figures of step `step` become a row.
    pub fn due(&self, step: usize) -> bool {
        step.is_multiple_of(self.interval)
    }

    /// A step that was taken, whose responses scored `reward` on average and had `tokens` tokens. Every so often the figures
    /// become a row.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn step(&mut self, step: usize, reward: f64, tokens: usize, figures: Value) -> Result<()> {
        self.progress.step_with(step - 1, &format!("reward {reward:.3}"), tokens);
        if !self.due(step) {
            return Ok(());
        }
        self.curves[0].push(step, reward);
        let mut row = json!({ "reward_mean": reward });
        if let (Value::Object(row), Value::Object(figures)) = (&mut row, figures) {
            row.extend(figures);
            row.insert("memory_mb".into(), json!(resident_bytes().map(|bytes| bytes / 1_000_000)));
        }
        self.write(step, row)
    }

    /// How the scores of a step are spread, and some of its responses, as a Markdown table.
    ///
    /// # Errors
    /// When they cannot be recorded.
    pub fn responses(&mut self, step: usize, scores: &[f64], table: &str) -> Result<()> {
        let Some((_, tracker)) = &mut self.record else { return Ok(()) };
        let scores: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        tracker.histogram(step, "reward", &scores)?;
        tracker.text(step, "samples", table)
    }

    /// Says aloud what is wrong.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn alarm(&mut self, step: usize, alarm: &str) -> Result<()> {
        self.progress.pause(|| println!("ALARM: {alarm}"));
        self.write(step, json!({ "alarm": alarm }))
    }

    /// What was found on validation questions after `step` steps: the mean score, and `figures` of it, which `said` tells.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn validation(
        &mut self,
        step: usize,
        reward: f64,
        said: &str,
        figures: Value,
    ) -> Result<()> {
        self.curves[1].push(step, reward);
        self.progress.pause(|| println!("step {step}: validation reward {reward:.3}, {said}"));
        let mut row = json!({ "val_reward": reward });
        if let (Value::Object(row), Value::Object(figures)) = (&mut row, figures) {
            row.extend(figures);
        }
        self.write(step, row)?;
        let Some((folder, _)) = &self.record else { return Ok(()) };
        let curves = [&self.curves[0], &self.curves[1]];
        loss_curve::write_measure(&folder.path().join("reward.svg"), &curves, "mean score")
    }

    /// Runs `work` that is no step: its time does not count.
    pub fn pause<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.progress.pause(work)
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.record.map_or(Ok(()), |(_, tracker)| tracker.finish())
    }

    fn write(&mut self, step: usize, figures: Value) -> Result<()> {
        let (Some((folder, tracker)), Value::Object(figures)) = (&mut self.record, figures) else {
            return Ok(());
        };
        tracker.row(step, &figures)?;
        let mut row = Map::from_iter([("step".to_string(), json!(step))]);
        row.extend(figures);
        folder.write(&Value::Object(row))
    }
}
