//! 3.5 Beyond the context (predict, 6 minutes, ●●○)
//!
//! A model was trained on texts of 256 tokens. Now it reads 300.
//!
//! Hint: What does each of the two know about position 270?
//! Hint: A learned position is a row of a table; RoPE's is an angle, and scores see differences.
//! Hint: A distance of 280 has never occurred in training, whatever the position.
//! Read: book/src/03_modern.md: ## RoPE: a position is an angle

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::choice(
            "Learned positions, a table of 256 rows. Token 270?",
            &[
                "it has no position: there is no such row",
                "it is read like token 14",
                "it works, a little worse",
            ],
            0,
            "A table ends where training ended. (A larger table would hold untrained numbers.)",
        )
        .trap(1., "only if somebody takes the position modulo 256; then order is lost")
        .trap(2., "a row that does not exist gives nothing, and one never trained gives noise"),
        Prediction::choice(
            "RoPE. How does token 270 score token 268?",
            &[
                "as token 30 scores token 28, if the vectors are the same",
                "worse than token 30 scores token 28",
                "not at all",
            ],
            0,
            "Scores depend on the distance alone: 2 is known from training.",
        )
        .trap(1., "both are rotated by more, the difference of the angles is the same")
        .trap(2., "the angle of position 270 is as good as any other"),
        Prediction::choice(
            "RoPE. How does token 290 score token 3?",
            &[
                "as in training",
                "by angles that no pair of training tokens had",
                "as if they were neighbours",
            ],
            1,
            "A distance of 287 is new, above all for the slow pairs: hence a window, or a larger \
             base.",
        )
        .trap(0., "no two training tokens were more than 255 apart")
        .trap(2., "only the fastest pairs come round to where they were"),
    ]
}
