//! Which curves belong to a stage.

use std::path::Path;

use anyhow::Result;

use super::chart::{Chart, Line};
use crate::stage::MetricsLog;

/// A chart: what y is, whether it is a share, and the names and keys of its lines.
type Curves = (&'static str, bool, &'static [(&'static str, &'static str)]);

/// Those of the stage `name`.
fn curves(name: &str) -> &'static [Curves] {
    match name {
        "base" => {
            &[("loss, nats per token", false, &[("training", "loss"), ("held out", "val_loss")])]
        }
        "sft" => &[
            ("loss, nats per token", false, &[("training", "loss"), ("validation", "val_loss")]),
            ("answered exactly", true, &[("validation", "exact_match")]),
        ],
        "reward" => &[
            ("loss, nats per pair", false, &[("training", "loss"), ("validation", "val_loss")]),
            (
                "pairs judged rightly",
                true,
                &[("training", "accuracy"), ("validation", "val_accuracy")],
            ),
        ],
        "ppo" => &[
            (
                "answered exactly",
                true,
                &[
                    ("while trying", "reward_mean"),
                    ("validation", "val_exact_match"),
                    ("form forgiven", "val_relaxed_match"),
                ],
            ),
            ("KL to the fine-tuned model, nats per answer", false, &[("KL", "kl")]),
            ("entropy, nats per token", false, &[("entropy", "entropy")]),
        ],
        "grpo" => &[
            (
                "answered exactly",
                true,
                &[
                    ("while trying", "reward_mean"),
                    ("validation", "val_exact_match"),
                    ("form forgiven", "val_relaxed_match"),
                ],
            ),
            ("KL to the fine-tuned model, nats per token", false, &[("KL", "kl")]),
            (
                "groups whose answers are all worth the same",
                true,
                &[("share", "frac_groups_zero_advantage")],
            ),
        ],
        _ => &[],
    }
}

/// The charts of the stage `name` in `folder`.
///
/// # Errors
/// When its figures cannot be read.
pub(crate) fn charts(name: &str, folder: &Path) -> Result<Vec<String>> {
    let curves = curves(name);
    if curves.is_empty() {
        return Ok(Vec::new());
    }
    let figures = MetricsLog::read(folder)?;
    let chart = |(y, share, lines): &Curves| {
        let line = |(name, key): &(&str, &str)| Line {
            name: name.to_string(),
            points: figures.curve(key),
        };
        let lines = lines.iter().map(line).collect();
        Chart { y, x: "step", lines, y_range: share.then_some([0., 1.]) }.svg()
    };
    Ok(curves.iter().map(chart).collect())
}
