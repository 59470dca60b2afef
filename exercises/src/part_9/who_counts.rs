//! 9.4 Who counts how much? (predict, 8 minutes, ●●○)
//!
//! A step has two completions, of 4 and of 40 tokens. The loss is Σ weight · loss over the tokens.
//! Three rules: the mean over completions of the mean over their tokens (GRPO's paper), the mean
//! over all tokens (DAPO), the sum divided by completions × longest possible length, here 50 (Dr.
//! GRPO).
//!
//! Hint: A token of a completion with n tokens has weight 1/(2 n) under the first rule.
//! Hint: Under the second every token has 1/44, under the third 1/100.
//! Hint: 1/8 against 1/80; then equal.
//! Read: crates/part_9_grpo/src/aggregation.rs: pub fn weights
//! Read: book/src/09_comparing.md: ## Whose tokens count how much

use grpo::aggregation::Aggregation;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let of = |rule: Aggregation| rule.weights(&[4, 40], &[true, true], 50);
    let [sequence, token, constant] =
        [of(Aggregation::Sequence), of(Aggregation::Token), of(Aggregation::Constant)];
    vec![
        Prediction::number(
            "GRPO's rule: how many times as much as a token of the long one counts one of the \
             short one?",
            f64::from(sequence[0] / sequence[1]),
            1e-3,
            "(1/8) / (1/80) = 10: a long wrong answer is punished less per token.",
        )
        .trap(1., "that holds for the mean over all tokens"),
        Prediction::number(
            "DAPO's rule: what is the weight of a token?",
            f64::from(token[0]),
            1e-3,
            "1/44, for all tokens: the long completion has ten votes to one.",
        )
        .trap(1. / 88., "the tokens of all completions share the step; there is no further ½"),
        Prediction::number(
            "Dr. GRPO's rule: what is the weight of a token?",
            f64::from(constant[0]),
            1e-4,
            "1/(2 · 50): it does not depend on what was sampled.",
        )
        .trap(1. / 50., "there are two completions"),
    ]
}
