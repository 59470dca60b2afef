//! 4.10 The memory of a training step (predict, 8 minutes, ●●○)
//!
//! In f32, with AdamW. A gigabyte is 10⁹ bytes.
//!
//! Hint: Which numbers are kept for each weight that is trained? Questions 3 and 4: which numbers
//! exist once per weight, and which once per token that is read?
//! Hint: The weight, its gradient, two moments: four numbers of four bytes. Question 4: which pass
//! is computed again, and how much of a step is it?
//! Hint: A weight that is frozen has itself alone: four bytes. Question 4: a forward pass has 2N
//! operations per token, a backward pass 4N.
//! Read: book/src/04_scale.md: ## Memory

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "A billion weights, all trained: gigabytes, without activations?",
            16.,
            0.5,
            "4 · 4 bytes each: weight, gradient, two moments.",
        )
        .trap(4., "that are the weights alone")
        .trap(8., "AdamW has two moments besides weight and gradient")
        .trap(12., "AdamW has two moments, the mean of g and that of g²"),
        Prediction::number(
            "The same with all weights frozen, and LoRA adapters of 1 % of their number?",
            4. + 0.01 * 16.,
            0.1,
            "4 for what is frozen, 0.16 for the adapters: the optimizer was most of it.",
        )
        .trap(16.16, "frozen weights have no gradient and no moments")
        .trap(0.16, "the frozen weights are still there"),
        Prediction::choice(
            "You double the batch. What doubles?",
            &["weights", "gradients", "moments", "activations"],
            3,
            "All the others are one per weight, whatever is read.",
        )
        .trap(0., "the weights do not know how much is read")
        .trap(1., "gradients are summed over the batch: one per weight")
        .trap(2., "moments are one per weight"),
        Prediction::choice(
            "Gradient checkpointing: what does it cost?",
            &["about a third more time", "twice the time", "accuracy", "nothing"],
            0,
            "One more forward pass, 2N beside 2N + 4N operations per token.",
        )
        .trap(1., "the forward pass is a third of a step")
        .trap(2., "the same numbers are computed once more")
        .trap(3., "activations that are not kept are computed again"),
    ]
}
