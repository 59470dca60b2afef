//! 12.2 Are these two different? (predict, 10 minutes, ●●○)
//!
//! Two models, each with 500 questions *of its own* where not said otherwise. At the level of 5 %.
//!
//! Hint: Near one half the interval of 500 questions is ± 0.044; near 0.93 it is ± 0.022.
//! Hint: The standard error of a difference is the root of the sum of both variances, p (1 − p)/n.
//! Hint: 0.93 and 0.94: √(0.0651/500 + 0.0564/500) = 0.0156, so 0.01 is less than one standard
//! error. With the same questions only those on which the models differ count.
//! Read: book/src/12_is_it_better.md: ## Two models

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let error = |a: f64, b: f64| ((a * (1. - a) + b * (1. - b)) / 500.).sqrt();
    let yes_or_no = ["yes", "no"];
    vec![
        Prediction::choice(
            "0.56 and 0.66. Different?",
            &yes_or_no,
            0,
            "0.10 is 3.3 standard errors of 0.031.",
        )
        .trap(1., "the difference's standard error is 0.031, and 0.10 is three of them"),
        Prediction::choice(
            "0.93 and 0.94. Different?",
            &yes_or_no,
            1,
            "0.01 is 0.6 standard errors. A table with both is a table of two equal models.",
        )
        .trap(0., "the difference's standard error is 0.016"),
        Prediction::number(
            "Standard error of the difference of 0.93 and 0.94?",
            error(0.93, 0.94),
            0.001,
            "√((0.0651 + 0.0564)/500) = 0.0156.",
        )
        .trap((0.93f64 * 0.07 / 500.).sqrt(), "that is the one of a single share; variances add")
        .trap(
            (0.93f64 * 0.07 / 500.).sqrt() + (0.94f64 * 0.06 / 500.).sqrt(),
            "variances add, not standard errors",
        ),
        Prediction::choice(
            "0.93 and 0.94 on the *same* 500 questions. One is right where the other is wrong on \
             6 questions, the other way round on 1. Different?",
            &["yes, clearly", "cannot be said at this level", "no, they are equal"],
            1,
            "A coin splits 7 questions at least as unevenly in 2 · (1 + 7)/2⁷ = 0.125 of all \
             cases. Nearer than before, and not there.",
        )
        .trap(0., "a coin does that in one of eight cases")
        .trap(2., "\"not shown to be different\" is not \"shown to be equal\""),
        Prediction::choice(
            "The same shares, 24 questions to 4 in favour of the second, of 2,000. Different?",
            &yes_or_no,
            0,
            "A coin does that in 0.0002 of all cases: 28 questions decide, and 1,972 say nothing.",
        )
        .trap(1., "on the same questions only those count on which the models differ: 24 to 4"),
    ]
}
