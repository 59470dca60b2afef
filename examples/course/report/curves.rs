//! The charts of each stage, with a sentence on how to read each.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::chart::{Chart, Line};
use crate::stage::MetricsLog;

/// A chart: label of the y axis, its range, and (name, metric) of each curve.
struct ChartSpec {
    y: &'static str,
    y_range: Option<[f64; 2]>,
    lines: &'static [(&'static str, &'static str)],
    /// Sentences on how to read the chart.
    reading: &'static str,
}

const PROPORTION: Option<[f64; 2]> = Some([0., 1.]);
const KL: &[(&str, &str)] = &[("KL", "kl_per_completion")];
const KL_LABEL: &str = "KL from the fine-tuned model, nats per completion";
const EXACT_MATCH: ChartSpec = ChartSpec {
    y: "exact match",
    y_range: PROPORTION,
    lines: &[
        ("training reward", "reward_mean"),
        ("validation", "val_exact_match"),
        ("validation, relaxed match", "val_relaxed_match"),
    ],
    reading: "Where the two validation curves meet, no right answer is lost to its form; what they \
              gain together from then on is skill. The training reward is lower, as its answers \
              are sampled, not greedy.",
};
const RULE_KL: ChartSpec = ChartSpec {
    y: KL_LABEL,
    y_range: None,
    lines: KL,
    reading: "The distance from the fine-tuned model: as long as exact match grows with it, it is \
              what learning needs; where only the distance grows, the policy drifts.",
};
const LOSS_READING: &str = "Training and validation fall together while what is learned is \
                            general; where validation turns up alone, the model learns its \
                            examples by heart.";
/// The reward model's score and the rule's, on the same answers.
const TWO_SCORES: ChartSpec = ChartSpec {
    y: "score of greedy answers to the validation questions",
    y_range: PROPORTION,
    lines: &[
        ("reward model, the training reward", "val_reward"),
        ("rule: exact match", "val_exact_match"),
        ("rule: relaxed match", "val_relaxed_match"),
    ],
    reading: "The reward model's curve is what the run maximizes, the rule's what is true: where \
              the first rises and the second does not, the policy has found what the reward model \
              overlooks.",
};

/// Charts of the stages with these names.
const CHARTS: &[(&[&str], &[ChartSpec])] = &[
    (
        &["base"],
        &[ChartSpec {
            y: "loss, nats per token",
            y_range: None,
            lines: &[("training", "loss"), ("validation", "val_loss")],
            reading: LOSS_READING,
        }],
    ),
    (
        &["sft"],
        &[
            ChartSpec {
                y: "loss, nats per token",
                y_range: None,
                lines: &[("training", "loss"), ("validation", "val_loss")],
                reading: LOSS_READING,
            },
            ChartSpec {
                y: "exact match",
                y_range: PROPORTION,
                lines: &[("validation", "val_exact_match")],
                reading: "The share of validation questions with the right answer in the right \
                          form; it still rises where training stops, on purpose.",
            },
        ],
    ),
    (
        &["reward"],
        &[
            ChartSpec {
                y: "loss, nats per pair",
                y_range: None,
                lines: &[("training", "loss"), ("validation", "val_loss")],
                reading: "A coin has 0.69 nats, ln 2: what lies below was learned.",
            },
            ChartSpec {
                y: "accuracy",
                y_range: PROPORTION,
                lines: &[("training", "accuracy"), ("validation", "val_accuracy")],
                reading: "How often the right answer gets the higher reward; a coin has 0.5.",
            },
        ],
    ),
    (
        &["dpo"],
        &[
            ChartSpec {
                y: "loss, nats per pair",
                y_range: None,
                lines: &[("training", "loss"), ("validation", "val_loss")],
                reading: "It begins where no answer is preferred, and falls as right answers gain \
                          on near misses.",
            },
            ChartSpec {
                y: "log-probability of a completion, nats",
                y_range: None,
                lines: &[("right", "val_logps/chosen"), ("near miss", "val_logps/rejected")],
                reading: "The loss sees the gap alone: it may widen while the right answer loses, \
                          too.",
            },
        ],
    ),
    (
        &["ppo-rm-no-kl", "ppo-rm"],
        &[
            TWO_SCORES,
            ChartSpec {
                y: KL_LABEL,
                y_range: None,
                lines: KL,
                reading: "With β = 0 nothing holds the policy back, with β = 0.1 the curve levels \
                      off where more reward costs more KL than it is worth.",
            },
        ],
    ),
    (&["iterated-dpo"], &[EXACT_MATCH]),
    (
        &["ppo"],
        &[
            EXACT_MATCH,
            RULE_KL,
            ChartSpec {
                y: "entropy, nats per token",
                y_range: None,
                lines: &[("entropy", "entropy")],
                reading: "How much is left to try: at 0 all answers to a question are alike, and \
                      nothing more can be learned from them.",
            },
        ],
    ),
    (
        &["grpo"],
        &[
            EXACT_MATCH,
            RULE_KL,
            ChartSpec {
                y: "fraction of groups with zero advantage",
                y_range: PROPORTION,
                lines: &[("fraction", "frac_groups_zero_advantage")],
                reading: "Groups whose answers are all right or all wrong teach nothing; as the \
                      model improves, more of its answers are wasted on what it can do.",
            },
        ],
    ),
];

/// Charts of the stage `name`.
fn chart_specs(name: &str) -> &'static [ChartSpec] {
    let of_stage = CHARTS.iter().find(|(stages, _)| stages.contains(&name));
    of_stage.map_or(&[], |(_, charts)| charts)
}

/// SVG charts of the stage `name`, from the metrics in `folder`, each with its sentence.
///
/// # Errors
/// When the metrics cannot be read.
pub(crate) fn charts(name: &str, folder: &Path) -> Result<Vec<Value>> {
    to_json(chart_specs(name), folder)
}

/// Chart of the two scores of the run in `folder`.
///
/// # Errors
/// When the metrics cannot be read.
pub(crate) fn two_scores(folder: &Path) -> Result<Vec<Value>> {
    to_json(&[TWO_SCORES], folder)
}

fn to_json(specs: &[ChartSpec], folder: &Path) -> Result<Vec<Value>> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let metrics = MetricsLog::read(folder)?;
    let chart = |&ChartSpec { y, y_range, lines, reading }: &ChartSpec| {
        let line = |(name, key): &(&str, &str)| Line {
            name: name.to_string(),
            points: match metrics.curve(key) {
                // Earlier versions had the KL per completion under this key.
                points if points.is_empty() && *key == "kl_per_completion" => metrics.curve("kl"),
                points => points,
            },
        };
        let lines = lines.iter().map(line).collect();
        let svg = Chart { y, x: "step", lines, y_range }.svg();
        json!({ "svg": svg, "reading": reading })
    };
    Ok(specs.iter().map(chart).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::STAGES;

    #[test]
    fn every_chart_has_one_sentence_or_two_on_how_to_read_it() {
        let specs = STAGES.iter().flat_map(|stage| chart_specs(stage.name));
        let readings: Vec<&str> = specs.map(|spec| spec.reading).collect();
        assert!(readings.len() >= 15, "{}", readings.len());
        for reading in readings {
            assert!(reading.ends_with('.') && reading.len() > 40, "{reading:?}");
        }
    }
}
