//! Results of the compared models, as a Markdown table and as plots.

use std::path::Path;

use anyhow::Result;
use experiment::loss_curve::{self, Curve};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tensor_core::atomic_file;

use super::variant::Variant;

/// Results of a model, with one value per finished run.
#[derive(Serialize)]
pub(crate) struct ComparisonRow {
    pub(crate) model: Variant,
    pub(crate) parameters: f64,
    /// Number of active parameters per token.
    pub(crate) active: f64,
    /// Best validation loss, nats per byte.
    pub(crate) losses: Vec<f64>,
    pub(crate) tokens_per_s: Vec<f64>,
    /// Max load / mean load on the validation text after training, of the worst layer.
    pub(crate) max_over_mean: Vec<f64>,
    /// Fraction of assignments dropped in training, with an expert capacity.
    pub(crate) dropped: Vec<f64>,
    /// Validation losses of the first run.
    #[serde(skip)]
    pub(crate) loss_curve: Curve,
    /// Max load / mean load over the first run.
    #[serde(skip)]
    pub(crate) load_curve: Curve,
}

/// Result of a finished run, in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunResult {
    pub(crate) steps: usize,
    /// Id of the training data.
    pub(crate) data_id: String,
    /// Best validation loss, nats per byte.
    pub(crate) loss: f64,
    pub(crate) tokens_per_s: f64,
    pub(crate) max_over_mean: Option<f64>,
    pub(crate) dropped: Option<f64>,
    /// Validation losses: (step, loss).
    pub(crate) loss_curve: Vec<(f64, f64)>,
    /// Max load / mean load: (step, ratio).
    pub(crate) load_curve: Vec<(f64, f64)>,
}

impl ComparisonRow {
    /// Adds the result of a run; the plots have the curves of the first.
    pub(crate) fn push(&mut self, result: RunResult) {
        if self.losses.is_empty() {
            let curves = [
                (&mut self.loss_curve, result.loss_curve),
                (&mut self.load_curve, result.load_curve),
            ];
            for (curve, points) in curves {
                points.iter().for_each(|&(step, value)| curve.push(step as usize, value));
            }
        }
        self.losses.push(result.loss);
        self.tokens_per_s.push(result.tokens_per_s);
        self.max_over_mean.extend(result.max_over_mean);
        self.dropped.extend(result.dropped);
    }

    pub(crate) fn new(model: Variant, parameters: f64, active: f64) -> Self {
        Self {
            model,
            parameters,
            active,
            losses: Vec::new(),
            tokens_per_s: Vec::new(),
            max_over_mean: Vec::new(),
            dropped: Vec::new(),
            loss_curve: Curve::new(model.label()),
            load_curve: Curve::new(model.label()),
        }
    }
}

/// Markdown table of the rows with a finished run.
pub(crate) fn table(rows: &[ComparisonRow]) -> String {
    let mut text = String::from(
        "| model | parameters | active per token | validation loss, nats per byte | tokens/s \
         | max load / mean | dropped |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows.iter().filter(|row| !row.losses.is_empty()) {
        let percent: Vec<f64> = row.dropped.iter().map(|fraction| 100. * fraction).collect();
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            row.model.label(),
            row.parameters,
            row.active,
            format_mean_and_deviation(&row.losses, 4, ""),
            format_mean_and_deviation(&row.tokens_per_s, 0, ""),
            format_mean_and_deviation(&row.max_over_mean, 2, ""),
            format_mean_and_deviation(&percent, 1, " %"),
        );
    }
    text
}

/// Mean and, for several values, the largest deviation from it; empty without values.
fn format_mean_and_deviation(values: &[f64], digits: usize, unit: &str) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let deviation = values.iter().map(|value| (value - mean).abs()).fold(0., f64::max);
    match values.len() {
        0 => String::new(),
        1 => format!("{mean:.digits$}{unit}"),
        _ => format!("{mean:.digits$} ± {deviation:.digits$}{unit}"),
    }
}

/// Writes the results so far.
pub(crate) fn write_results(folder: &Path, rows: &[ComparisonRow]) -> Result<()> {
    atomic_file::write(&folder.join("table.md"), table(rows).as_bytes())?;
    atomic_file::write(&folder.join("results.json"), format!("{:#}\n", json!(rows)).as_bytes())?;
    // A model has the same color in both plots, so the empty load curve of a dense model is
    // included.
    let [losses, loads]: [Vec<&Curve>; 2] = [
        rows.iter().map(|row| &row.loss_curve).collect(),
        rows.iter().map(|row| &row.load_curve).collect(),
    ];
    loss_curve::write_svg(&folder.join("loss.svg"), &losses)?;
    loss_curve::write_svg_with_axes(
        &folder.join("load.svg"),
        &loads,
        ["step", "max load / mean, worst layer"],
    )
}
