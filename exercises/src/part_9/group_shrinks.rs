//! 9.2 (G − 1)/G (predict, 5 minutes, ●○○)
//!
//! The mean of a group of G contains the completion's own reward. The gradient that comes out is on
//! average a multiple of the true one.
//!
//! Hint: r − mean = r − r/G − (sum of the others)/G.
//! Hint: The others are independent of this completion, so their share vanishes on average. What
//! is left of r?
//! Hint: r (1 − 1/G).
//! Read: crates/part_9_grpo/src/advantage.rs: Dr. GRPO ascends
//! Read: book/src/09_comparing.md: ## Is that a fair baseline?

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let share = |g: f64| (g - 1.) / g;
    let trap = "that is 1/G, what is lost; (G − 1)/G is left";
    vec![
        Prediction::number("What multiple, for G = 2?", share(2.), 1e-3, "Half of the gradient.")
            .trap(1., "that would be leave-one-out"),
        Prediction::number("For G = 8?", share(8.), 1e-3, "7/8.").trap(1. / 8., trap),
        Prediction::number("For G = 64?", share(64.), 1e-3, "63/64: nearly all.")
            .trap(1. / 64., trap),
    ]
}
