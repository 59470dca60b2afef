//! 8.12 One score, two truths (measure, 20 minutes, ●●●)
//!
//! PPO against part 7's reward model (the judge), which checks form and last digits, twice from one
//! start; only the KL coefficient β differs. In the end the judge scores both policies alike, and
//! one of them adds far worse than the other. Predict which. This needs `runs/noisy`, the model of
//! 8.11 (its first command); from the root of the repository:
//!
//!     cargo run -p part_7 -- train --model runs/noisy --out runs/judge
//!     cargo run -p part_8 -- train --model runs/noisy --reward runs/judge \
//!         --lr 5e-4 --steps 80 --kl-coef 0 --out runs/free
//!     cargo run -p part_8 -- train --model runs/noisy --reward runs/judge \
//!         --lr 5e-4 --steps 80 --kl-coef 0.1 --out runs/held
//!
//! (Each run of PPO has 80 steps; those of 8.11 have 60.) The grader takes the run without a KL
//! penalty first, `runs/free runs/held`. In the last validation the scores should differ by less
//! than 0.03 and the exact matches by more than 0.15. Single validations vary: if the two scores
//! are not that close, give both runs another `--seed`.
//!
//! Hint: What does the judge see that it rewards, and what can it not see?
//! Hint: Compare `val_reward` (the judge) and `val_exact_match` (the truth) over the steps.
//! Hint: The commands as they stand; with β = 0 the exact match passes a top and falls.
//! Read: book/src/08_trying.md: ## The leash: a KL penalty to the reference

use serde_json::json;

use super::paid_by_chance::{coefficients, of_part_6};
use crate::grading::{Measure, Run};

/// Largest difference of the judge's scores, smallest of the exact matches.
const SAME_SCORE: f64 = 0.03;
const OTHER_TRUTH: f64 = 0.15;

/// Grader.
pub const GRADE: Measure = Measure {
    n_runs: 2,
    findings: |runs| {
        let [free, held] = runs else { return Vec::new() };
        let of = |run: &Run, key| run.last(key).unwrap_or(f64::NAN);
        let (a, b) = (of(free, "val_reward"), of(held, "val_reward"));
        let (true_a, true_b) = (of(free, "val_exact_match"), of(held, "val_exact_match"));
        vec![
            coefficients(free, held),
            (free.last("step") == held.last("step"), "both have the same steps".to_string()),
            (
                (a - b).abs() < SAME_SCORE,
                format!("the judge gives {a:.3} and {b:.3}, which is the same (± {SAME_SCORE})"),
            ),
            (
                true_b - true_a > OTHER_TRUTH,
                format!("exact match {true_a:.3} and {true_b:.3}, more than {OTHER_TRUTH} apart"),
            ),
        ]
    },
    right: || vec![run(0., 0.778, 0.670), run(0.1, 0.779, 0.930)],
    wrong: || {
        vec![
            (vec![run(0.1, 0.779, 0.93), run(0., 0.778, 0.67)], "β is"),
            (vec![run(0., 0.65, 0.67), run(0.1, 0.779, 0.93)], "judge"),
            (vec![run(0., 0.778, 0.91), run(0.1, 0.779, 0.93)], "exact match"),
            (vec![of_part_6(), run(0.1, 0.779, 0.93)], "the first run has no β"),
        ]
    },
};

fn run(kl_coef: f64, reward: f64, exact: f64) -> Run {
    let row = json!({"step": 80, "kl_coef": kl_coef});
    let validation = json!({"step": 80, "val_reward": reward, "val_exact_match": exact});
    Run::of(json!({}), &[row, validation])
}
