//! 4.5 The gradient of parts (fill in, 12 minutes, ●●○)
//!
//! A batch is too large for the memory, so its gradient is added up from micro-batches. The loss of
//! the batch is the mean over all its targets. Each micro-batch gives the gradient of *its* mean
//! and the number of its targets. Return the gradient of the batch.
//!
//! Hint: The whole mean is Σ over all targets / N. What is the sum over the targets of one part?
//! Hint: n · (its mean), so a part weighs n / N.
//! Hint: `total[i] += gradient[i] * n as f64 / all as f64`, where `all` is the sum of all n.
//! Read: crates/part_4_scaling/src/accumulation.rs: pub fn gradients
//! Read: book/src/04_scale.md: ## Gradients in pieces

/// Gradient of the mean over all targets, from each part's gradient and number of targets.
pub fn gradient_of_parts(parts: &[(Vec<f64>, usize)]) -> Vec<f64> {
    let mut total = vec![0.; parts[0].0.len()];
    // SOLUTION: 6 lines: each part with its share of all targets
    let all: usize = parts.iter().map(|(_, n)| n).sum();
    for (gradient, n) in parts {
        for (sum, g) in total.iter_mut().zip(gradient) {
            *sum += g * *n as f64 / all as f64;
        }
    }
    // END
    total
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Accumulate = fn(&[(Vec<f64>, usize)]) -> Vec<f64>;

/// Grader. The reference adds up sums and divides once.
pub const GRADE: Fill<Accumulate> = Fill {
    cases,
    reference: |parts| {
        let all: f64 = parts.iter().map(|(_, n)| *n as f64).sum();
        let sum = |i: usize| parts.iter().map(|(g, n)| g[i] * *n as f64).sum::<f64>();
        (0..parts[0].0.len()).map(|i| sum(i) / all).collect()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |parts| {
                let n = parts.len() as f64;
                let sum = |i: usize| parts.iter().map(|(g, _)| g[i]).sum::<f64>();
                (0..parts[0].0.len()).map(|i| sum(i) / n).collect()
            },
            says: "a mean of means: every part counts the same, whatever its number of targets",
            read: "crates/part_4_scaling/src/accumulation.rs: a mean of means",
        },
        Wrong {
            f: |parts| {
                let sum = |i: usize| parts.iter().map(|(g, _)| g[i]).sum::<f64>();
                (0..parts[0].0.len()).map(sum).collect()
            },
            says: "the means are added and not divided",
            read: "",
        },
        Wrong {
            f: |parts| {
                let sum = |i: usize| parts.iter().map(|(g, n)| g[i] * *n as f64).sum::<f64>();
                (0..parts[0].0.len()).map(sum).collect()
            },
            says: "the sum over all targets; it is their mean",
            read: "",
        },
        Wrong {
            f: |parts| parts.last().map(|(g, _)| g.clone()).unwrap_or_default(),
            says: "each part replaces the one before it",
            read: "",
        },
    ],
};

fn cases(f: Accumulate, answers: &mut Answers) {
    for counts in [&[4, 4][..], &[7, 1], &[3, 0, 12, 1]] {
        let parts: Vec<(Vec<f64>, usize)> =
            counts.iter().map(|n| ((0..3).map(|_| answers.rng().normal()).collect(), *n)).collect();
        answers.record(format!("parts of {counts:?} targets"), || Ok(f(&parts)));
    }
}
