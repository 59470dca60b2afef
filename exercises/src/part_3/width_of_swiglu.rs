//! 3.6 How wide is F for equal parameters? (predict, 5 minutes, ●○○)
//!
//! GPT-2's feed-forward layer has two matrices, C → 4C → C. SwiGLU has three: gate and up, C → F,
//! and down, F → C. Which F gives the same number of weights (biases aside)?
//!
//! Hint: 2 · 4 C² on the one side, 3 · C · F on the other.
//! Hint: F = 8 C / 3. Question 2: the formula is W_down (silu(W_gate x) · W_up x); how often does x
//! occur in it?
//! Hint: For C = 768: 2048.
//! Read: crates/part_3_modern/src/swiglu.rs: pub enum FeedForward
//! Read: book/src/03_modern.md: ## SwiGLU: one half gates the other

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number("F for C = 768?", 8. * 768. / 3., 0.5, "8/3 C.")
            .trap(
                4. * 768.,
                "that is GPT-2's; with three matrices there would be half as many again",
            )
            .trap(2. * 768., "three matrices against two: 8 C² = 3 C F"),
        Prediction::choice(
            "What does the gate do that GELU does not?",
            &[
                "it makes the layer linear",
                "it multiplies two functions of the input",
                "it saves a matrix",
            ],
            1,
            "silu(x W_gate) · (x W_up): a channel is let through depending on others.",
        )
        .trap(0., "a product of two functions of x is not linear")
        .trap(2., "it needs one more"),
    ]
}
