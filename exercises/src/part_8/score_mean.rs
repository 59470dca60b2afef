//! 8.2 The mean of ∇ log π (predict, 6 minutes, ●●○)
//!
//! A policy pulls arms with probabilities π = softmax(θ). A baseline b is subtracted from each
//! reward before it is multiplied with ∇ log π(a).
//!
//! Hint: Σ_a π(a) ∇ log π(a) = Σ_a ∇ π(a). What is the sum of the π(a)?
//! Hint: A sum that is always 1 has gradient 0. So E[b ∇ log π] = b · 0 where b does not depend on
//! the arm that was pulled.
//! Hint: The mean of a group contains the completion's own reward, so it does depend on it.
//! Read: book/src/08_trying.md: ## The baseline

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "With π = (0.7, 0.2, 0.1): what is E[∇ log π(a)], in each component?",
            0.,
            1e-6,
            "Σ π ∇ log π = ∇ Σ π = ∇ 1 = 0.",
        )
        .trap(1., "Σ π is 1; its gradient is asked"),
        Prediction::choice(
            "Which baseline changes the expected gradient?",
            &[
                "5, a constant",
                "the mean of all earlier rewards",
                "the mean of the group, the completion itself included",
                "the mean of the others of the group",
            ],
            2,
            "It shrinks the gradient to (G − 1)/G of itself: its direction stays.",
        )
        .trap(0., "b E[∇ log π] = b · 0 for any constant")
        .trap(1., "earlier rewards do not depend on this completion")
        .trap(3., "the others were drawn independently of this completion: leave-one-out"),
        Prediction::choice(
            "All rewards are 3, without a baseline. What does one step from one pull do?",
            &["nothing", "it makes the pulled arm likelier", "it makes the policy uniform"],
            1,
            "The expected step is 0, a single one is not: noise sharpens the policy, until a \
             baseline takes it away.",
        )
        .trap(0., "that holds on average, or with a baseline of 3")
        .trap(2., "3 ∇ log π(a) raises arm a, whatever the others would have paid"),
    ]
}
