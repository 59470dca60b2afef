//! 11.6 Rewrite, or ask again? (predict, 10 minutes, ●●○)
//!
//! A model is shown its own answer and told to look again. Of the wrong answers it mends a share a,
//! of the right ones it spoils a share b. With p right before, a round makes p (1 − b) + (1 − p) a.
//!
//! Hint: In the end as many are mended as are spoiled.
//! Hint: p b = (1 − p) a: p = a/(a + b).
//! Hint: With a judge who keeps the better of old and new, nothing is spoiled: 1 − (1 − p)(1 − a).
//! A new attempt: 1 − (1 − p)(1 − p).
//! Read: book/src/11_at_test_time.md: **When does rewriting help?**

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "p = 0.6, a = 0.2, b = 0.1: right after one round?",
            0.62,
            0.001,
            "0.54 + 0.08.",
        )
        .trap(0.68, "what it spoils, 0.06, is to be subtracted")
        .trap(0.8, "only wrong answers can be mended: 0.2 of 0.4"),
        Prediction::number(
            "And after many rounds?",
            0.2 / 0.3,
            0.005,
            "a/(a + b) = 0.667, wherever it began.",
        )
        .trap(1., "it goes on spoiling right ones"),
        Prediction::number(
            "p = 0.6, a = b = 0.1, many rounds?",
            0.5,
            0.005,
            "It falls to ½: \"look again\" without any news makes it worse.",
        )
        .trap(0.6, "more right answers are spoiled than wrong ones mended, as long as p > ½"),
        Prediction::choice(
            "Now a perfect judge keeps the better of old and new. p = 0.6 on each question. When \
             does a rewrite beat a fresh sample?",
            &["always: it sees the first try", "if a > 0.6", "if a > b", "if a > 0.4"],
            1,
            "1 − (1 − p)(1 − a) against 1 − (1 − p)²: the critique must mend a wrong answer more \
             often than a new attempt is right.",
        )
        .trap(0., "a fresh sample sees nothing and may still be right more often")
        .trap(2., "with this judge b does not matter")
        .trap(3., "compare with a fresh sample, which is right in 0.6"),
    ]
}
