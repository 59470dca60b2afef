//! 4.5 Metrics of a run: rows in `metrics.jsonl` and in a tracker's files, and two metrics as a
//! curve plot.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::RunFolder;
use crate::loss_curve::{self, Curve};
use crate::tracker::Tracker;

/// Plot of two metrics over the steps.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// File in the run folder.
    pub file: &'static str,
    /// Label of the vertical axis.
    pub y_label: &'static str,
    /// Key and name of each curve: training and validation.
    pub curves: [(&'static str, &'static str); 2],
}

impl Plot {
    /// Training and validation loss.
    pub const LOSS: Self = Self {
        file: "loss.svg",
        y_label: "loss, nats per token",
        curves: [("loss", "training"), ("val_loss", "validation")],
    };
    /// Mean reward of the rollouts and of greedy validations.
    pub const REWARD: Self = Self {
        file: "reward.svg",
        y_label: "mean reward",
        curves: [("reward_mean", "rollouts"), ("val_reward", "validation, greedy")],
    };
}

/// Writer of metrics. It writes nothing until it has a run folder.
pub struct MetricsWriter {
    outputs: Option<(RunFolder, Tracker)>,
    plot: Plot,
    /// Curves of the plot.
    curves: [Curve; 2],
}

impl MetricsWriter {
    /// Writer without a run folder, of the metrics that `plot` shows.
    pub fn new(plot: Plot) -> Self {
        Self { outputs: None, plot, curves: plot.curves.map(|(_, name)| Curve::new(name)) }
    }

    /// Writer to `folder`, which already has `rows`, and to `tracker`.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        for row in rows {
            if let Some(step) = row["step"].as_u64() {
                self.push_curve_points(step as usize, row);
            }
        }
        self.outputs = Some((folder, tracker));
        self
    }

    /// Writes a row of metrics after `step` steps.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn write_row(&mut self, step: usize, metrics: Value) -> Result<()> {
        self.push_curve_points(step, &metrics);
        let (Some((folder, tracker)), Value::Object(metrics)) = (&mut self.outputs, metrics) else {
            return Ok(());
        };
        tracker.log_metrics(step, &metrics)?;
        let mut row = Map::from_iter([("step".to_string(), json!(step))]);
        row.extend(metrics);
        folder.append_metrics(&Value::Object(row))
    }

    /// Writes rows about completions.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_completions(&self, rows: &[Value]) -> Result<()> {
        let folder = self.outputs.as_ref().map(|(folder, _)| folder);
        folder.map_or(Ok(()), |folder| folder.append_completions(rows))
    }

    fn push_curve_points(&mut self, step: usize, metrics: &Value) {
        for ((key, _), curve) in self.plot.curves.iter().zip(&mut self.curves) {
            if let Some(value) = metrics[*key].as_f64() {
                curve.push(step, value);
            }
        }
    }

    /// Curve of the validation metric so far.
    pub fn validation_curve(&self) -> &Curve {
        &self.curves[1]
    }

    /// Tracker, for texts and histograms.
    pub fn tracker(&mut self) -> Option<&mut Tracker> {
        self.outputs.as_mut().map(|(_, tracker)| tracker)
    }

    /// Draws the plot.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_plot(&self) -> Result<()> {
        let Some((folder, _)) = &self.outputs else { return Ok(()) };
        let path = folder.path().join(self.plot.file);
        let axes = ["step", self.plot.y_label];
        loss_curve::write_svg_with_axes(&path, &self.curves.each_ref(), axes)
    }

    /// Completes the tracker's files at the end of the run.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn finish(self) -> Result<()> {
        self.outputs.map_or(Ok(()), |(_, tracker)| tracker.finish())
    }
}

/// Appends the entries of `other` to those of `row`.
pub fn extend_row(row: &mut Value, other: Value) {
    if let (Value::Object(row), Value::Object(other)) = (row, other) {
        row.extend(other);
    }
}
