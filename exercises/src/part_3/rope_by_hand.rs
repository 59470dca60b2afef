//! 3.2 (1, 2, 3, 4) at position 1 (predict, 10 minutes, ●●○)
//!
//! RoPE turns pairs of channels by an angle that grows with the position. Here D = 4, base 10,000,
//! and the pairs are (0, 2) and (1, 3): halves, as in Hugging Face's Llama files. The angles per
//! position are 1 and 0.01. A pair (a, b) goes to (a cos − b sin, b cos + a sin).
//!
//! Hint: Pair (1, 3) turns by 1 radian, pair (2, 4) by 0.01.
//! Hint: cos 1 = 0.5403, sin 1 = 0.8415; cos 0.01 = 0.99995, sin 0.01 = 0.01. Question 5: a score
//! depends on the difference of the two angles.
//! Hint: Channel 0: 1 · 0.5403 − 3 · 0.8415. Channel 1: 2 · 0.99995 − 4 · 0.01. Channels 2 and 3
//! are the second of a pair: b cos + a sin.
//! Read: crates/part_3_modern/src/rope.rs: pub fn apply_rope
//! Read: book/src/03_modern.md: ## RoPE: a position is an angle

use super::rotate::rotate;
use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let y = rotate(&[1., 2., 3., 4.], 1, 10_000.);
    let (sin, cos) = 1f64.sin_cos();
    vec![
        Prediction::number("Channel 0?", y[0], 1e-3, "cos 1 − 3 sin 1.")
            .trap(cos - 2. * sin, "that pairs neighbours, 0 with 1; here halves, 0 with 2")
            .trap(cos + 3. * sin, "it turns the other way"),
        Prediction::number("Channel 1?", y[1], 1e-3, "2 cos 0.01 − 4 sin 0.01.")
            .trap(2. * cos + sin, "that pairs neighbours")
            .trap(2., "nearly: it turns slowly, and it turns"),
        Prediction::number("Channel 2?", y[2], 1e-3, "3 cos 1 + sin 1.")
            .trap(3. * cos - sin, "the second of a pair gets + a sin"),
        Prediction::number("Channel 3?", y[3], 1e-3, "4 cos 0.01 + 2 sin 0.01.")
            .trap(4., "nearly: it turns slowly, and it turns"),
        Prediction::choice(
            "A query at position 12 and a key at position 10: their score is that of positions",
            &["2 and 0", "12 and 12", "6 and 5"],
            0,
            "A dot product sees the difference of the angles alone.",
        )
        .trap(1., "there the distance is 0")
        .trap(2., "there the distance is 1"),
    ]
}
