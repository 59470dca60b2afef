//! 11.1 The majority of n (predict, 8 minutes, ●●○)
//!
//! A model answers right with probability p, else it gives one certain wrong answer. You sample n
//! answers independently (n odd) and return the one that most samples agree on.
//!
//! Hint: Of three, two or three have to be right: p³ + 3 p² (1 − p).
//! Hint: For n = 15, sum the binomial probabilities of 8 to 15 right ones; a few lines of code do.
//! Hint: The majority is above p where p > ½, and below where p < ½. Each question counts for
//! itself: 0.9 gets to 1.00, 0.3 to 0.05.
//! Read: book/src/11_at_test_time.md: ## The majority

use crate::grading::Prediction;

/// Probability of more right answers than wrong ones among `n`, odd, each right with `p`.
pub fn majority(n: u32, p: f64) -> f64 {
    let binomial = |k: u32| (0..k).map(|i| f64::from(n - i) / f64::from(i + 1)).product::<f64>();
    let term = |k: u32| binomial(k) * p.powi(k as i32) * (1. - p).powi((n - k) as i32);
    (n.div_ceil(2)..=n).map(term).sum()
}

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "p = 0.6, n = 3: how often is the majority right?",
            majority(3, 0.6),
            0.002,
            "0.216 + 0.432 = 0.648.",
        )
        .trap(0.216, "that all three are right; two are enough")
        .trap(1. - 0.4f64.powi(3), "that at least one is right: it is not known which"),
        Prediction::number("p = 0.6, n = 15?", majority(15, 0.6), 0.01, "0.787.")
            .trap(1. - 0.4f64.powi(15), "that at least one is right: it is not known which")
            .trap(0.6, "errors that do not agree average out"),
        Prediction::number(
            "p = 0.45, n = 15?",
            majority(15, 0.45),
            0.01,
            "0.346: a vote makes a model more sure of what it tends to say, right or wrong.",
        )
        .trap(majority(15, 0.55), "that is the majority of the wrong answer")
        .trap(0.45, "a vote never leaves p where it is, but for ½, 0 and 1"),
        Prediction::number(
            "Half of the questions have p = 0.9, half 0.3: a mean of 0.6. The majority of 15?",
            (majority(15, 0.9) + majority(15, 0.3)) / 2.,
            0.01,
            "(1.00 + 0.05)/2 = 0.525: less than a single answer's 0.6.",
        )
        .trap(majority(15, 0.6), "the questions vote one by one; their mean does not"),
    ]
}
