//! 6.7 How many parameters at rank 8? (predict, 6 minutes, ●○○)
//!
//! A model has 2 blocks of width C = 128. Adapters of rank 8 go to the query and the value matrix
//! of each block, all of them 128 × 128.
//!
//! Hint: Question 1: an adapter has A (R, in) and B (out, R). Question 2: compare with the numbers
//! of a full matrix. Question 3: through which matrix does the gradient reach A?
//! Hint: Question 1: that is R (in + out) numbers per matrix; there are 2 · 2 matrices. Question 2:
//! a full one has in · out. Question 3: y = x Wᵀ + s · (x Aᵀ) Bᵀ, so B is a factor of dy/dA.
//! Hint: Question 1: 8 · 256 · 4. Question 2: 8 · 256 divided by 128 · 128. Question 3: B = 0.
//! Read: crates/part_6_sft/src/lora.rs: R · (in + out) numbers
//! Read: book/src/06_answering.md: ## LoRA: a small change of large matrices

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let adapter = 8. * (128. + 128.);
    vec![
        Prediction::number(
            "How many numbers are trained?",
            4. * adapter,
            0.,
            "4 · 8 · (128 + 128).",
        )
        .trap(adapter, "that is one matrix; there are four")
        .trap(4. * 128. * 128., "that is full training of the four matrices")
        .trap(4. * 8. * 128., "A or B alone; an adapter has both"),
        Prediction::number(
            "What share (0 to 1) of the four full matrices is that?",
            adapter / (128. * 128.),
            1e-3,
            "1/8 = R (in + out) / (in · out). In a model of width 4096 it would be 1/256.",
        )
        .trap(8. / 128., "both A and B count"),
        Prediction::choice(
            "B is 0 at the start. What is the gradient of A at the first step?",
            &["0", "the same as that of B", "the same as that of W"],
            0,
            "dA contains B as a factor: the first step moves B alone. Were A 0 too, nothing would.",
        )
        .trap(1., "their shapes differ; and what does B = 0 do to a path through A?")
        .trap(2., "W is frozen, and the path to A runs through B"),
    ]
}
