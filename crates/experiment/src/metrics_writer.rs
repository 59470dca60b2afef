//! 4.5 Metrics of a run: rows in `metrics.jsonl` and in a tracker's files, and two metrics as a
//! curve plot.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::RunFolder;
use crate::loss_curve::{self, Curve};
use crate::tracker::Tracker;

/// Writer of metrics. It writes nothing until it has a run folder.
pub struct MetricsWriter {
    outputs: Option<(RunFolder, Tracker)>,
    /// Curves, each with the key of its metric.
    curves: [(&'static str, Curve); 2],
}

impl MetricsWriter {
    /// Writer without a run folder. `curves` holds the metric key and the name of each curve.
    pub fn new(curves: [(&'static str, &str); 2]) -> Self {
        Self { outputs: None, curves: curves.map(|(key, name)| (key, Curve::new(name))) }
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

    fn push_curve_points(&mut self, step: usize, metrics: &Value) {
        for (key, curve) in &mut self.curves {
            if let Some(value) = metrics[*key].as_f64() {
                curve.push(step, value);
            }
        }
    }

    /// Curve of each of the two metrics so far.
    pub fn curves(&self) -> [&Curve; 2] {
        self.curves.each_ref().map(|(_, curve)| curve)
    }

    /// Tracker, for texts and histograms.
    pub fn tracker(&mut self) -> Option<&mut Tracker> {
        self.outputs.as_mut().map(|(_, tracker)| tracker)
    }

    /// Plots the curves into the SVG file `name`, with `y_label` on the vertical axis.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_curves_svg(&self, name: &str, y_label: &str) -> Result<()> {
        let Some((folder, _)) = &self.outputs else { return Ok(()) };
        let path = folder.path().join(name);
        loss_curve::write_svg_with_axes(&path, &self.curves(), ["step", y_label])
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
