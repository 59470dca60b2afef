//! 1.3 How large is q·k? (predict, 6 minutes, ●○○)
//!
//! A query and a key have D = 256 numbers each, all independent with mean 0 and variance 1. No
//! table and no program: a pencil is enough.
//!
//! Hint: q·k is a sum of D products. What is the variance of one product?
//! Hint: Variances of independent terms add, so Var(q·k) = D.
//! Hint: The standard deviation is √256. Of 8 normal numbers the two largest are 0.57 standard
//! deviations apart on average, and the softmax makes a gap of x a factor of e^x.
//! Read: crates/part_1_attention/src/by_hand.rs: √D. Without it
//! Read: book/src/01_attention.md: ## Why divide by √D

use tensor_core::Rng;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    vec![
        Prediction::number(
            "What is the standard deviation of q·k?",
            256f64.sqrt(),
            0.5,
            "Var(q·k) = D, so the scores grow like √D.",
        )
        .trap(256., "that is the variance")
        .trap(1., "each product has 1; the sum of 256 has more"),
        Prediction::choice(
            "A query meets 8 such keys. How large is the largest of its 8 softmax weights on \
             average, if the scores are not divided?",
            &SHARES,
            share(largest_weight(256, 1.)),
            "About 0.94: the softmax is saturated, and its gradient nearly 0.",
        )
        .trap(0., "1/8 is the uniform weight; the scores differ by about 16")
        .trap(1., "that is what scores with a standard deviation of 1 give")
        .trap(2., "a gap of a few units to the second largest leaves that one hardly anything"),
        Prediction::choice(
            "And if they are divided by √D?",
            &SHARES,
            share(largest_weight(256, 16.)),
            "About 0.36, whatever D is: every key still gets some of the gradient.",
        )
        .trap(0., "that would be uniform, 1/8; the scores still differ, by about 1")
        .trap(
            2.,
            "with a gap of 0.57 the second largest has more than half of the largest's weight",
        )
        .trap(
            3.,
            "with a gap of 0.57 the second largest has more than half of the largest's weight",
        ),
    ]
}

/// Choices of a share.
const SHARES: [&str; 4] = ["below 0.2", "0.2 to 0.5", "0.5 to 0.8", "above 0.8"];

/// Index of the choice with the share `x`.
fn share(x: f64) -> usize {
    [0.2, 0.5, 0.8].iter().filter(|&&limit| x > limit).count()
}

/// Mean over queries of the largest softmax weight of 8 scores, divided by `scale`.
fn largest_weight(d: usize, scale: f64) -> f64 {
    const N: usize = 1000;
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
