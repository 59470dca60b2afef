//! 11.7 Keep the right ones, learn them (measure, 15 minutes, ●●○)
//!
//! Expert iteration: sample a group of answers, keep the best one by a rule, fine-tune on it, begin
//! again. No advantage, no ratio, no KL. Beside it GRPO, from one start and with as many sampled
//! answers. Predict first: which is better, and by how much?
//!
//!     cargo run -p part_6 -- train --demonstrations noisy --out runs/habit
//!     cargo run -p part_10 -- train --model runs/habit --online best \
//!         --prompts-per-round 64 --group-size 16 --steps 100 --out runs/keep
//!     cargo run -p part_9 -- train --config configs/arithmetic.yaml \
//!         --model runs/habit --out runs/compare
//!
//! The grader takes the run of expert iteration first, `runs/keep runs/compare`.
//!
//! Hint: Both see 100 · 64 · 16 answers; count them in the settings.
//! Hint: Look at `val_exact_match` in both `metrics.jsonl`, before and after.
//! Hint: Run the commands as they stand. Nothing is to be tuned.
//! Read: book/src/11_at_test_time.md: ## Learning it back

use serde_json::json;

use crate::grading::{Measure, Run};

/// Smallest gain of both, and their largest difference.
const GAIN: f64 = 0.1;
const NEAR: f64 = 0.1;

/// Grader.
pub const GRADE: Measure = Measure {
    n_runs: 2,
    findings: |runs| {
        let [keep, compare] = runs else { return Vec::new() };
        let exact = "val_exact_match";
        let first = |run: &Run| run.first(exact).unwrap_or(f64::NAN);
        let last = |run: &Run| run.last(exact).unwrap_or(f64::NAN);
        let (a, b) = (last(keep), last(compare));
        let gain = (a - first(keep)).min(b - first(compare));
        vec![
            (
                keep.text("online") == Some("best"),
                "the first run is fine-tuned on its best answers".to_string(),
            ),
            (
                keep.setting("prompts_per_round") == compare.setting("batch_size")
                    && keep.setting("group_size") == compare.setting("group_size")
                    && keep.last("step") == compare.last("step"),
                "both sample as many answers".to_string(),
            ),
            (gain > GAIN, format!("both gain, the lesser {gain:.3} (> {GAIN})")),
            (
                (a - b).abs() < NEAR,
                format!("and end near each other: {a:.3} and {b:.3} (± {NEAR})"),
            ),
        ]
    },
    right: || vec![run(Some("best"), 8, [0.54, 0.91]), run(None, 8, [0.54, 0.9])],
    wrong: || {
        vec![
            (vec![run(None, 8, [0.54, 0.91]), run(None, 8, [0.54, 0.9])], "best answers"),
            (vec![run(Some("best"), 4, [0.54, 0.91]), run(None, 8, [0.54, 0.9])], "as many"),
            (vec![run(Some("best"), 8, [0.54, 0.55]), run(None, 8, [0.54, 0.56])], "gain"),
            (vec![run(Some("best"), 8, [0.54, 0.71]), run(None, 8, [0.54, 0.9])], "near"),
        ]
    },
};

fn run(online: Option<&str>, group_size: usize, exact: [f64; 2]) -> Run {
    let rows = [0, 1].map(|i| json!({"step": 40 * i, "val_exact_match": exact[i]}));
    let settings = match online {
        Some(online) => json!({"online": online, "prompts_per_round": 64, "batch_size": 8}),
        None => json!({"prompts_per_round": 64, "batch_size": 64}),
    };
    let mut run = Run::of(settings, &rows);
    run.settings["group_size"] = json!(group_size);
    run
}
