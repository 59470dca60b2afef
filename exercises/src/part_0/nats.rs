//! 0.1 Nats of a coin, of 256 bytes, of p = 0.9 (predict, 4 minutes, ●○○)
//!
//! The surprise of an outcome with probability p is −ln p, measured in nats. The loss of a language
//! model is the mean surprise of the tokens that came. Answer to two digits after the point.
//!
//! Hint: ln is the natural logarithm. A bit is ln 2 nats.
//! Hint: For equally likely outcomes p = 1/n, so the surprise is ln n.
//! Hint: ln 2 ≈ 0.693; 256 = 2⁸, so ln 256 = 8 ln 2; ln 0.9 is about −0.105.
//! Read: crates/part_2_tiny_gpt/src/cross_entropy.rs: log
//! Read: book/src/00_before.md: ## Surprise

use std::f64::consts::LN_2;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "How many nats does the toss of a fair coin have?",
            LN_2,
            0.01,
            "ln 2 = 0.69 nats, which is one bit.",
        )
        .trap(1., "that is its surprise in bits; a bit is ln 2 nats")
        .trap(0.5, "that is the probability, not its logarithm"),
        Prediction::number(
            "A model knows nothing of 256 bytes. What is its loss, in nats per byte?",
            256f64.ln(),
            0.01,
            "ln 256 = 5.55: the first loss of part 2, before any step.",
        )
        .trap(8., "that is in bits; times ln 2 it is in nats")
        .trap(1. / 256., "that is the probability of a byte; the loss is −ln of it"),
        Prediction::number(
            "It now gives the byte that comes 0.9. What is the loss there?",
            -(0.9f64.ln()),
            0.01,
            "−ln 0.9 = 0.11: near p = 1 the loss is about 1 − p.",
        )
        .trap(0.9, "the loss falls as the probability rises")
        .trap(-0.11, "the sign: a surprise is never negative"),
    ]
}
