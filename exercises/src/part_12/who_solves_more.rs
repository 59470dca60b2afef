//! 12.6 Who solves more? (predict, 8 minutes, ●●○)
//!
//! Four questions. The base solves them with probabilities 0.5, 0.3, 0.1 and 0.1 per attempt; after
//! RL the same model has 0.95, 0.9, 0.02 and 0.005. pass@k is the mean probability that at least
//! one of k attempts is right.
//!
//! Hint: One question: 1 − (1 − p)^k. Then the mean over the four.
//! Hint: k = 1: the mean of the probabilities. Question 5: is there a question that the base never
//! solves?
//! Hint: For k = 128, 0.9^128 is nearly 0, and 0.995^128 = 0.53.
//! Read: book/src/12_is_it_better.md: **Elicited or learned?**

use crate::grading::Prediction;

/// Solve rates before RL.
const BASE: [f64; 4] = [0.5, 0.3, 0.1, 0.1];
/// Solve rates after RL.
const TRAINED: [f64; 4] = [0.95, 0.9, 0.02, 0.005];

fn pass_at_k(rates: [f64; 4], k: i32) -> f64 {
    rates.iter().map(|p| 1. - (1. - p).powi(k)).sum::<f64>() / 4.
}

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number("pass@1 of the base?", pass_at_k(BASE, 1), 0.005, "1.0 of 4."),
        Prediction::number(
            "pass@1 after RL?",
            pass_at_k(TRAINED, 1),
            0.005,
            "0.469: nearly twice as much. A paper with k = 1 would end here.",
        ),
        Prediction::number(
            "pass@128 of the base?",
            pass_at_k(BASE, 128),
            0.005,
            "1.000: given time it solves all four.",
        )
        .trap(1. - 0.75f64.powi(2), "each question has its own rate"),
        Prediction::number(
            "pass@128 after RL?",
            pass_at_k(TRAINED, 128),
            0.01,
            "0.849: what was rare is gone.",
        )
        .trap(1., "0.995 to the 128th is 0.53: the fourth question is solved in half of the cases"),
        Prediction::choice(
            "So RL has, on these questions,",
            &["taught something new", "made frequent what was there", "changed nothing"],
            1,
            "Elicited, not learned. To see learning, look for a question that the base never \
             solves at any k.",
        )
        .trap(0., "every question that it solves more often was solved before")
        .trap(2., "for one attempt it has"),
    ]
}
