//! 2.8 Learn one batch by heart (measure, 10 minutes, ●○○)
//!
//! The first test of any training loop: can it learn a single batch by heart? If the loss of a few
//! lines does not go to 0, no amount of text will help. Write 400 bytes or so to a file, train on
//! it, and run the control with the same settings on all of data/tiny.txt:
//!
//!     cargo run -p part_2 -- train --data mine.txt --steps 300 \
//!         --n-layer 2 --n-embd 64 --context-len 32 --out runs/heart
//!     cargo run -p part_2 -- train --data data/tiny.txt --steps 300 \
//!         --n-layer 2 --n-embd 64 --context-len 32 --out runs/control
//!
//! The grader takes both folders, the run by heart first, `runs/heart runs/control`.
//!
//! Hint: The training loss is what counts; the validation loss of 40 unseen bytes may be anything.
//! Hint: If it stops above 0.2, give it more steps (both runs), or a shorter text.
//! Hint: One line of data/tiny.txt written ten times, and the two commands as they stand.
//! Read: crates/part_2_tiny_gpt/src/training.rs: pub fn train
//! Read: book/src/02_tiny_gpt.md: ## What goes wrong

use serde_json::json;

use crate::grading::{Measure, Run};

/// Largest loss of a text learned by heart.
const BY_HEART: f64 = 0.2;

/// Grader.
pub const GRADE: Measure = Measure {
    n_runs: 2,
    findings: |runs| {
        let [heart, control] = runs else { return Vec::new() };
        let same = ["steps", "n_layer", "n_embd", "n_positions", "lr"]
            .iter()
            .all(|key| heart.setting(key) == control.setting(key));
        let loss = |run: &Run| run.last("loss").unwrap_or(f64::NAN);
        vec![
            (same, "both runs have the same steps, sizes and learning rate".to_string()),
            (
                loss(heart) < BY_HEART,
                format!(
                    "the text learned by heart has a loss of {:.3} (< {BY_HEART})",
                    loss(heart)
                ),
            ),
            (
                loss(control) > 5. * loss(heart),
                format!("the control, which cannot be learned by heart, has {:.3}", loss(control)),
            ),
        ]
    },
    right: || vec![run(300, 0.04), run(300, 1.9)],
    wrong: || {
        vec![
            (vec![run(300, 0.04), run(100, 2.3)], "same steps"),
            (vec![run(300, 0.9), run(300, 1.9)], "by heart"),
            (vec![run(300, 0.04), run(300, 0.04)], "control"),
        ]
    },
};

fn run(steps: usize, loss: f64) -> Run {
    let settings = json!({"train": {"steps": steps, "lr": 3e-3}, "model": {"n_embd": 64}});
    Run::of(settings, &[json!({"step": 1, "loss": 5.5}), json!({"step": steps, "loss": loss})])
}
