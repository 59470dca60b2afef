//! 9.5 When does the clip act? (predict, 6 minutes, ●●○)
//!
//! GRPO samples a batch and takes μ gradient steps on it. The ratio is ρ = π / π_old, where π_old
//! is the policy that sampled.
//!
//! Hint: What is π at the first of the μ steps?
//! Hint: Before the first update π is π_old, so every ratio is 1. Question 3: differentiate ρ A and
//! A by the weights.
//! Hint: With μ = 1 there is no second step on the same samples. Question 4: with μ = 4 there are
//! three further steps on them.
//! Read: crates/part_9_grpo/src/objective.rs: clip
//! Read: book/src/09_comparing.md: ## Why the clip sleeps

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number("What is every ratio at the first step?", 1., 1e-9, "π is π_old there.")
            .trap(0., "its logarithm is 0"),
        Prediction::choice(
            "μ = 1: on which share of the tokens does the clip act?",
            &["none, in the whole run", "20 %, as ε is 0.2", "more and more as the policy moves"],
            0,
            "The clip then is an ornament: the loss is −A ρ, whose gradient is −A ∇log π.",
        )
        .trap(1., "ε is a distance of ratios, no share")
        .trap(2., "each step samples anew from the policy that has moved"),
        Prediction::choice(
            "μ = 1: the ratio is always 1, so why not leave it away and take the loss −A?",
            &["it makes no difference", "−A has no gradient", "−A would be unbounded"],
            1,
            "The value of ρ is 1, its gradient is ∇log π: that is what learns.",
        )
        .trap(0., "differentiate both by θ")
        .trap(2., "A is a number; that is the trouble"),
        Prediction::choice(
            "μ = 4: at which of the steps can it act?",
            &["1 to 4", "2 to 4", "4 only"],
            1,
            "From the second step on, π has left π_old.",
        )
        .trap(0., "at step 1 every ratio is 1")
        .trap(2., "one step is enough to change ratios"),
    ]
}
