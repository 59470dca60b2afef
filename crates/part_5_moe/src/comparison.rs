//! What became of each model, as a table in Markdown and as plots.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tensor_core::atomic_file;
use tiny_gpt::loss_curve::{self, Curve};

use crate::variant::Variant;

/// What became of a model, a number per finished run.
#[derive(Serialize)]
pub(crate) struct ComparisonRow {
    pub(crate) model: Variant,
    pub(crate) parameters: f64,
    /// That work on a token.
    pub(crate) active: f64,
    /// Best validation loss, nats per byte.
    pub(crate) losses: Vec<f64>,
    pub(crate) tokens_per_s: Vec<f64>,
    /// The largest load over the mean on the held-out text after training, of the layer that is worst.
    pub(crate) max_over_mean: Vec<f64>,
    /// The share of choices that were dropped in training, where experts have a capacity.
    pub(crate) dropped: Vec<f64>,
    /// The validation losses of the first run.
    #[serde(skip)]
    pub(crate) loss_curve: Curve,
    /// The largest load over the mean in the first run.
    #[serde(skip)]
    pub(crate) load_curve: Curve,
}

impl ComparisonRow {
    pub(crate) fn new(model: Variant, parameters: f64, active: f64) -> Self {
        let [losses, tokens_per_s, max_over_mean, dropped] = [(); 4].map(|()| Vec::new());
        let [loss_curve, load_curve] = [(); 2].map(|()| Curve::new(model.label()));
        Self {
            model,
            parameters,
            active,
            losses,
            tokens_per_s,
            max_over_mean,
            dropped,
            loss_curve,
            load_curve,
        }
    }
}

/// The rows with a finished run as a table in Markdown.
pub(crate) fn table(rows: &[ComparisonRow]) -> String {
    let mut text = String::from(
        "| model | parameters | active per token | validation loss, nats per byte | tokens/s | largest load / mean | dropped |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows.iter().filter(|row| !row.losses.is_empty()) {
        let percent: Vec<f64> = row.dropped.iter().map(|share| 100. * share).collect();
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

/// The mean and, where there are several, the largest deviation from it; nothing of nothing.
fn format_mean_and_deviation(values: &[f64], digits: usize, unit: &str) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let far = values.iter().map(|value| (value - mean).abs()).fold(0., f64::max);
    match values.len() {
        0 => String::new(),
        1 => format!("{mean:.digits$}{unit}"),
        _ => format!("{mean:.digits$} ± {far:.digits$}{unit}"),
    }
}

/// Writes what is known so far.
pub(crate) fn write_results(folder: &Path, rows: &[ComparisonRow]) -> Result<()> {
    atomic_file::write(&folder.join("table.md"), table(rows).as_bytes())?;
    atomic_file::write(&folder.join("results.json"), format!("{:#}\n", json!(rows)).as_bytes())?;
    // A model has its color in both, so a dense one's empty curve goes along.
    let [losses, loads]: [Vec<&Curve>; 2] = [
        rows.iter().map(|row| &row.loss_curve).collect(),
        rows.iter().map(|row| &row.load_curve).collect(),
    ];
    loss_curve::write_svg(&folder.join("loss.svg"), &losses)?;
    loss_curve::write_svg_with_axes(
        &folder.join("load.svg"),
        &loads,
        ["step", "largest load / mean, worst layer"],
    )
}
