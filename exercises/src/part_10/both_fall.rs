//! 10.10 Both fall (measure, 15 minutes, ●●○)
//!
//! DPO raises the margin between chosen and rejected. Does the chosen answer become likelier? The
//! pairs are right answers against near misses, which the model would hardly have written. Then the
//! same with the remedy, a larger β and a share of cross-entropy:
//!
//!     cargo run -p part_6 -- train --demonstrations noisy --out runs/habit
//!     cargo run -p part_10 -- train --model runs/habit --batch-size 64 \
//!         --out runs/fall
//!     cargo run -p part_10 -- train --model runs/habit --batch-size 64 \
//!         --beta 0.5 --sft-weight 0.2 --out runs/held_up
//!
//! Predict first: where does `logps/chosen` go in each of the two? The grader takes the run without
//! the remedy first, `runs/fall runs/held_up`.
//!
//! Hint: Look at `logps/chosen`, `logps/rejected` and `rewards/margins` of the first and last rows.
//! Hint: Validations have the same names with `val_` before them, and less noise.
//! Hint: Nothing is to be tuned: run the commands as they stand; each takes a minute or so.
//! Read: book/src/10_without_trying.md: ## Both fall

use serde_json::json;

use crate::grading::{Measure, Run};

/// Validated log-probability of the chosen completions.
const CHOSEN: &str = "val_logps/chosen";
/// Validated log-probability of the rejected completions.
const REJECTED: &str = "val_logps/rejected";

/// Grader.
pub const GRADE: Measure = Measure {
    n_runs: 2,
    findings: |runs| {
        let [fall, held] = runs else { return Vec::new() };
        let change = |run: &Run, key| {
            let (first, last) = (run.first(key), run.last(key));
            last.zip(first).map_or(f64::NAN, |(last, first)| last - first)
        };
        let weight = |run: &Run| run.setting("sft_weight").unwrap_or(0.);
        let (chosen, rejected) = (change(fall, CHOSEN), change(fall, REJECTED));
        let held_chosen = change(held, CHOSEN);
        vec![
            (
                weight(fall) == 0. && weight(held) > 0.,
                format!(
                    "the SFT weight is {} in the first run, {} in the second",
                    weight(fall),
                    weight(held)
                ),
            ),
            (fall.last("step") == held.last("step"), "both have the same steps".to_string()),
            (
                change(fall, "val_rewards/margins") > 0.,
                "the margin grows, as DPO wants".to_string(),
            ),
            (
                chosen < -0.5 && rejected < chosen,
                format!("chosen and rejected both fall: {chosen:.1} and {rejected:.1} nats"),
            ),
            (
                held_chosen > chosen,
                format!("with the remedy the chosen ones change by {held_chosen:.1} nats"),
            ),
        ]
    },
    right: || vec![run(0., [-0.9, -2.3], [-18., -26.6]), run(0.2, [-0.9, -0.6], [-18., -24.])],
    wrong: || {
        let held = || run(0.2, [-0.9, -0.6], [-18., -24.]);
        vec![
            (vec![held(), run(0., [-0.9, -2.3], [-18., -26.6])], "SFT weight"),
            (vec![run(0., [-0.9, -0.8], [-18., -26.6]), held()], "both fall"),
            (vec![run(0., [-0.9, -2.3], [-18., -18.5]), held()], "margin"),
            (
                vec![run(0., [-0.9, -2.3], [-18., -26.6]), run(0.2, [-0.9, -4.], [-18., -24.])],
                "remedy",
            ),
        ]
    },
};

/// Run whose validations begin and end with these log-probabilities.
fn run(sft_weight: f64, chosen: [f64; 2], rejected: [f64; 2]) -> Run {
    let row = |i: usize| {
        json!({
            "step": 157 * i, CHOSEN: chosen[i], REJECTED: rejected[i],
            "val_rewards/margins": 0.1 * (chosen[i] - rejected[i] - chosen[0] + rejected[0]),
        })
    };
    Run::of(json!({"train": {"sft_weight": sft_weight}}), &[row(0), row(1)])
}
