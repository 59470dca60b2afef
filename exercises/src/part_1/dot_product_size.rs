//! 1.3 How large is q·k? (predict, 6 minutes, ●○○)
//!
//! A query and a key have D = 64 numbers each, all independent with mean 0 and variance 1.
//!
//! Hint: q·k is a sum of D products. What is the variance of one product?
//! Hint: Variances of independent terms add, so Var(q·k) = D.
//! Hint: The standard deviation is √64. A softmax of numbers that differ by 8 or 16 is nearly 1 at
//! one place; divided by √D they differ by 1 or 2.
//! Read: crates/part_1_attention/src/by_hand.rs: √D. Without it
//! Read: book/src/01_attention.md: ## Why divide by √D

use tensor_core::Rng;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "What is the standard deviation of q·k?",
            64f64.sqrt(),
            0.5,
            "Var(q·k) = D, so the scores grow like √D.",
        )
        .trap(64., "that is the variance")
        .trap(1., "each product has 1; the sum of 64 has more"),
        Prediction::number(
            "A query meets 8 such keys. How large is the largest of its 8 softmax weights on \
             average, if the scores are not divided?",
            largest_weight(64, 1.),
            0.1,
            "About 0.88: the softmax is saturated, and its gradient nearly 0.",
        )
        .trap(1. / 8., "that is the uniform weight; the scores differ by about 8"),
        Prediction::number(
            "And if they are divided by √D?",
            largest_weight(64, 8.),
            0.1,
            "About 0.36, whatever D is: every key still gets some of the gradient.",
        )
        .trap(1. / 8., "that would be uniform; the scores still differ, by about 1"),
    ]
}

/// Mean over queries of the largest softmax weight of 8 scores, divided by `scale`.
fn largest_weight(d: usize, scale: f64) -> f64 {
    const N: usize = 4000;
    let mut rng = Rng::new(1);
    let mut sum = 0.;
    for _ in 0..N {
        let q: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let mut score = || q.iter().map(|q| q * rng.normal()).sum::<f64>() / scale;
        let scores = [0; 8].map(|_| score());
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        sum += 1. / scores.iter().map(|score| (score - max).exp()).sum::<f64>();
    }
    sum / N as f64
}
