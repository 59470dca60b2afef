//! 8.11 Paid by chance (measure, 15 minutes, ●●○)
//!
//! A reward that knows nothing: `--reward random`. How far does the policy wander from its
//! reference, with a KL penalty and without? Fine-tune once (part 6), then train twice, changing
//! only the coefficient β of the penalty, `--kl-coef`. From the root of the repository:
//!
//!     cargo run -p part_6 -- train --demonstrations noisy \
//!         --target-exact-match 0.5 --out runs/noisy
//!     cargo run -p part_8 -- train --model runs/noisy --reward random \
//!         --steps 60 --kl-coef 0 --out runs/chance_free
//!     cargo run -p part_8 -- train --model runs/noisy --reward random \
//!         --steps 60 --kl-coef 0.02 --out runs/chance_paid
//!
//! The fine-tuning takes about 75 s of a core and each of the other runs about 62 s, beside other
//! programs.
//!
//! The grader takes the run without a penalty first, `runs/chance_free runs/chance_paid`, and wants
//! its KL in the last row, in nats per completion, to be more than twice as large.
//!
//! Hint: The expected gradient of a random reward is 0. Is that of each step?
//! Hint: Look at `kl_per_completion` in the last rows of both `metrics.jsonl`.
//! Hint: Nothing is to be tuned: run the commands as they stand.
//! Read: book/src/08_trying.md: ## The leash: a KL penalty to the reference

use serde_json::json;

use crate::grading::measure::Finding;
use crate::grading::{Measure, Run};

/// Grader.
pub const GRADE: Measure = Measure {
    n_runs: 2,
    findings: |runs| {
        let [free, paid] = runs else { return Vec::new() };
        // Earlier versions had `kl` per completion, and no other key.
        let kl = |run: &Run| run.last("kl_per_completion").or(run.last("kl")).unwrap_or(f64::NAN);
        let (kl_free, kl_paid) = (kl(free), kl(paid));
        let random = |run: &Run| run.text("reward") == Some("random");
        let n = |run: &Run| run.last("step");
        vec![
            (random(free) && random(paid), "both rewards are random".to_string()),
            (n(free) == n(paid), "both runs have the same number of steps".to_string()),
            coefficients(free, paid),
            (
                kl_free > 2. * kl_paid,
                format!(
                    "without a penalty the policy wanders further: KL {kl_free:.2} and \
                     {kl_paid:.2} nats"
                ),
            ),
        ]
    },
    right: || vec![run("random", 0., 0.77), run("random", 0.02, 0.12)],
    wrong: || {
        vec![
            (vec![run("rule", 0., 0.77), run("random", 0.02, 0.12)], "random"),
            (vec![run("random", 0.02, 0.12), run("random", 0., 0.77)], "β is"),
            (vec![run("random", 0., 0.13), run("random", 0.02, 0.12)], "wanders"),
            (vec![of_part_6(), run("random", 0.02, 0.12)], "the first run has no β"),
            (vec![run("random", 0., 0.77), of_part_6()], "the second run has no β"),
        ]
    },
};

/// Finding about the coefficients β of a run that should have none and one that should.
pub(super) fn coefficients(free: &Run, paid: &Run) -> Finding {
    let coefficient = |run: &Run| run.last("kl_coef");
    let (first, second) = match (coefficient(free), coefficient(paid)) {
        (Some(first), Some(second)) => (first, second),
        (first, _) => {
            let which = if first.is_none() { "first" } else { "second" };
            let says = format!(
                "the {which} run has no β: that is a run of another part, such as the fine-tuning \
                 of part 6; give the folders of `part_8 train`"
            );
            return (false, says);
        }
    };
    let says = format!("β is {first} in the first run, {second} in the second");
    (first == 0. && second > 0., says)
}

/// Run of the fine-tuning, which has no β.
pub(super) fn of_part_6() -> Run {
    Run::of(json!({"demonstrations": "noisy"}), &[json!({"step": 60, "val_exact_match": 0.5})])
}

fn run(reward: &str, kl_coef: f64, kl: f64) -> Run {
    let row = json!({"step": 60, "kl_per_completion": kl, "kl_coef": kl_coef});
    Run::of(json!({"reward": reward}), &[row])
}
