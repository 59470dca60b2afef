//! What became of each model, as a table in Markdown and as plots.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tensor_core::atomic_file;
use tiny_gpt::loss_curve::{self, Curve};

use crate::variant::Variant;

/// What became of a model, a number per seed.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) model: Variant,
    pub(crate) parameters: f64,
    /// That work on a token.
    pub(crate) active: f64,
    /// Best validation loss, nats per byte.
    pub(crate) losses: Vec<f64>,
    pub(crate) tokens_per_s: Vec<f64>,
    /// The largest load over the mean on the held-out text after training, of the layer that is worst.
    pub(crate) max_over_mean: Vec<f64>,
    /// The share of choices that were dropped in training.
    pub(crate) dropped: Vec<f64>,
}

impl Row {
    pub(crate) fn new(model: Variant, parameters: f64, active: f64) -> Self {
        let [losses, tokens_per_s, max_over_mean, dropped] = [(); 4].map(|()| Vec::new());
        Self { model, parameters, active, losses, tokens_per_s, max_over_mean, dropped }
    }
}

/// The rows as a table in Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| model | parameters | active per token | validation loss, nats per byte | tokens/s | largest load / mean | dropped |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let load = match row.max_over_mean.is_empty() {
            true => "".into(),
            false => spread(&row.max_over_mean, 2),
        };
        let dropped = match row.dropped.is_empty() {
            true => "".into(),
            false => format!("{:.1} %", 100. * mean(&row.dropped)),
        };
        text += &format!(
            "| {} | {} | {} | {} | {:.0} | {load} | {dropped} |\n",
            row.model.name(),
            row.parameters,
            row.active,
            spread(&row.losses, 4),
            mean(&row.tokens_per_s),
        );
    }
    text
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean and the largest deviation from it, where there are several.
fn spread(values: &[f64], digits: usize) -> String {
    let mean = mean(values);
    let far = values.iter().map(|value| (value - mean).abs()).fold(0., f64::max);
    match values.len() {
        1 => format!("{mean:.digits$}"),
        _ => format!("{mean:.digits$} ± {far:.digits$}"),
    }
}

/// The lines of the first seed.
#[derive(Default)]
pub(crate) struct Curves {
    pub(crate) losses: Vec<Curve>,
    pub(crate) imbalance: Vec<Curve>,
}

/// Writes what is known so far.
pub(crate) fn keep(folder: &Path, rows: &[Row], curves: &Curves) -> Result<()> {
    atomic_file::write(&folder.join("table.md"), table(rows).as_bytes())?;
    atomic_file::write(&folder.join("results.json"), format!("{:#}\n", json!(rows)).as_bytes())?;
    loss_curve::write(&folder.join("loss.svg"), &curves.losses.iter().collect::<Vec<_>>())?;
    let imbalance: Vec<&Curve> = curves.imbalance.iter().collect();
    let measure = "largest load / mean, worst layer";
    loss_curve::write_measure(&folder.join("load.svg"), &imbalance, measure)
}
