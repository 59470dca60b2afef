//! 4.7 lr(1), lr(warm-up), lr(last) (predict, 6 minutes, ●○○)
//!
//! 1,000 steps, counted from 1, 100 of them warm-up from 0 to the peak of 0.001, then half a cosine
//! down to a tenth of the peak.
//!
//! Hint: In the warm-up lr(n) = peak · n / warmup.
//! Hint: The cosine begins at the peak and ends at the minimum, and its middle is half-way.
//! Hint: Step 550 is the middle of the decay: (0.001 + 0.0001) / 2.
//! Read: crates/part_4_scaling/src/schedule.rs: pub fn lr_at
//! Read: book/src/04_scale.md: ## The learning rate over a run

use scaling::schedule::{DecayShape, LrSchedule};

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let schedule = LrSchedule {
        peak_lr: 1e-3,
        min_lr: 1e-4,
        warmup_steps: 100,
        total_steps: 1000,
        decay: DecayShape::Cosine,
    };
    let tolerance = 1e-9;
    vec![
        Prediction::number(
            "lr(1)?",
            schedule.lr_at(1),
            tolerance,
            "peak / 100: the first step counts.",
        )
        .trap(0., "a first step of 0 would be wasted"),
        Prediction::number("lr(100)?", schedule.lr_at(100), tolerance, "The peak."),
        Prediction::number("lr(550)?", schedule.lr_at(550), tolerance, "Half-way down.")
            .trap(5e-4, "half-way to the minimum, not to 0"),
        Prediction::number("lr(1000)?", schedule.lr_at(1000), tolerance, "The minimum.")
            .trap(0., "it ends at a tenth of the peak"),
    ]
}
