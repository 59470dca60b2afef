//! 2.3 The first loss, the number of parameters (predict, 10 minutes, ●●○)
//!
//! A byte-level GPT with 2 layers, 4 heads, 64 channels and a context of 32 tokens, with GPT-2's
//! layers: biases everywhere, output layer tied to the token embedding.
//!
//! Hint: The first logits are near 0. What does softmax make of 256 equal numbers?
//! Hint: Tables: 256 C for tokens, 32 C for positions. A block: C → 3C, C → C, C → 4C, 4C → C, each
//! with as many biases as outputs, and two norms of 2C.
//! Hint: A block has 12 C² + 13 C; there are two; the last norm has 2 C.
//! Read: crates/part_2_tiny_gpt/src/model.rs: pub fn parameter_count
//! Read: book/src/02_tiny_gpt.md: ## How large are fresh weights?

use tiny_gpt::GptConfig;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let parameters = GptConfig::byte_level(32, 2, 4, 64).parameter_count();
    let heads_twice = parameters + 2. * 3. * 64. * 64.;
    vec![
        Prediction::number(
            "What is its loss before the first step, in nats?",
            256f64.ln(),
            0.1,
            "About ln 256 = 5.55. A first loss far above it says that the initial logits are too \
             large.",
        )
        .trap(8., "that is in bits"),
        Prediction::number(
            "How many parameters has it, exactly?",
            parameters,
            0.,
            "(256 + 32) C + 2 (12 C² + 13 C) + 2 C with C = 64.",
        )
        .trap(parameters + 256. * 64., "the output layer is tied to the embedding: count it once")
        .trap(parameters - 2. * 13. * 64. - 2. * 64., "biases and norms are missing")
        .trap(heads_twice, "more heads are not more weights: they share the C channels"),
    ]
}
