//! The charts of each stage.

use std::path::Path;

use anyhow::Result;

use super::chart::{Chart, Line};
use crate::stage::MetricsLog;

/// Label of the y axis, whether y is a proportion, and (name, metric) of each curve.
type ChartSpec = (&'static str, bool, &'static [(&'static str, &'static str)]);

/// Charts of the stage `name`.
fn chart_specs(name: &str) -> &'static [ChartSpec] {
    match name {
        "base" => {
            &[("loss, nats per token", false, &[("training", "loss"), ("validation", "val_loss")])]
        }
        "sft" => &[
            ("loss, nats per token", false, &[("training", "loss"), ("validation", "val_loss")]),
            ("exact match", true, &[("validation", "exact_match")]),
        ],
        "reward" => &[
            ("loss, nats per pair", false, &[("training", "loss"), ("validation", "val_loss")]),
            ("accuracy", true, &[("training", "accuracy"), ("validation", "val_accuracy")]),
        ],
        "ppo" => &[
            (
                "exact match",
                true,
                &[
                    ("training reward", "reward_mean"),
                    ("validation", "val_exact_match"),
                    ("validation, relaxed match", "val_relaxed_match"),
                ],
            ),
            ("KL from the fine-tuned model, nats per completion", false, &[("KL", "kl")]),
            ("entropy, nats per token", false, &[("entropy", "entropy")]),
        ],
        "grpo" => &[
            (
                "exact match",
                true,
                &[
                    ("training reward", "reward_mean"),
                    ("validation", "val_exact_match"),
                    ("validation, relaxed match", "val_relaxed_match"),
                ],
            ),
            ("KL from the fine-tuned model, nats per completion", false, &[("KL", "kl")]),
            (
                "fraction of groups with zero advantage",
                true,
                &[("fraction", "frac_groups_zero_advantage")],
            ),
        ],
        _ => &[],
    }
}

/// SVG charts of the stage `name`, from the metrics in `folder`.
///
/// # Errors
/// When the metrics cannot be read.
pub(crate) fn charts(name: &str, folder: &Path) -> Result<Vec<String>> {
    let specs = chart_specs(name);
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let metrics = MetricsLog::read(folder)?;
    let chart = |(y, is_proportion, lines): &ChartSpec| {
        let line = |(name, key): &(&str, &str)| Line {
            name: name.to_string(),
            points: metrics.curve(key),
        };
        let lines = lines.iter().map(line).collect();
        Chart { y, x: "step", lines, y_range: is_proportion.then_some([0., 1.]) }.svg()
    };
    Ok(specs.iter().map(chart).collect())
}
