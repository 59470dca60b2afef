//! 4.5 The record of a run: rows of figures in `metrics.jsonl` and in a tracker's files, and two of the figures as curves.

use anyhow::Result;
use serde_json::{Map, Value, json};
use tiny_gpt::RunFolder;
use tiny_gpt::loss_curve::{self, Curve};

use crate::tracker::Tracker;

/// Where figures go: nowhere, until there is a folder for them.
pub struct MetricsWriter {
    outputs: Option<(RunFolder, Tracker)>,
    /// Each with the key of its figure.
    curves: [(&'static str, Curve); 2],
}

impl MetricsWriter {
    /// Of a run that is shown and not kept; of each curve the key of its figure, and its name.
    pub fn new(curves: [(&'static str, &str); 2]) -> Self {
        Self { outputs: None, curves: curves.map(|(key, name)| (key, Curve::new(name))) }
    }

    /// The same in `folder`, which has these rows, and in `tracker`'s files.
    pub fn with_run_folder(mut self, folder: RunFolder, tracker: Tracker, rows: &[Value]) -> Self {
        for row in rows {
            if let Some(step) = row["step"].as_u64() {
                self.push_curve_points(step as usize, row);
            }
        }
        self.outputs = Some((folder, tracker));
        self
    }

    /// A row of figures after `step` steps.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_row(&mut self, step: usize, figures: Value) -> Result<()> {
        self.push_curve_points(step, &figures);
        let (Some((folder, tracker)), Value::Object(figures)) = (&mut self.outputs, figures) else {
            return Ok(());
        };
        tracker.log_metrics(step, &figures)?;
        let mut row = Map::from_iter([("step".to_string(), json!(step))]);
        row.extend(figures);
        folder.append_metrics(&Value::Object(row))
    }

    fn push_curve_points(&mut self, step: usize, figures: &Value) {
        for (key, curve) in &mut self.curves {
            if let Some(value) = figures[*key].as_f64() {
                curve.push(step, value);
            }
        }
    }

    /// The tracker, for what is no figure.
    pub fn tracker(&mut self) -> Option<&mut Tracker> {
        self.outputs.as_mut().map(|(_, tracker)| tracker)
    }

    /// Draws the curves of a `measure` as the picture `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_curves_svg(&self, name: &str, measure: &str) -> Result<()> {
        let (Some((folder, _)), [(_, a), (_, b)]) = (&self.outputs, &self.curves) else {
            return Ok(());
        };
        loss_curve::write_svg_with_axes(&folder.path().join(name), &[a, b], ["step", measure])
    }

    /// The run has ended; the tracker's files are complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        self.outputs.map_or(Ok(()), |(_, tracker)| tracker.finish())
    }
}

/// Puts the entries of `more` behind those of `row`.
pub fn extend_row(row: &mut Value, more: Value) {
    if let (Value::Object(row), Value::Object(more)) = (row, more) {
        row.extend(more);
    }
}
