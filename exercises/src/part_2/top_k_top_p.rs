//! 2.9 Top-k, then top-p (fill in, 20 minutes, ●●○)
//!
//! From logits to the probabilities that a token is sampled with. Top-k keeps the k largest logits,
//! and those that tie with the k-th. Softmax over them. Top-p then keeps the fewest of these, the
//! likeliest first, whose probabilities sum to p or more: the token that crosses p is in. What
//! is kept is divided by its sum; all others have probability 0. Of equals the first counts as
//! likelier.
//!
//! Hint: Sort the places `0..n` by logit, largest first; a stable sort leaves equals in order.
//! Hint: The k-th logit is the threshold: keep all logits ≥ it. In the top-p walk add first, then
//! ask whether the sum has reached p.
//! Hint: `let mut sum = 0.; for &i in &order { kept.push(i); sum += probability[i]; if sum >= p {
//! break; } }` after the softmax, then divide by the sum.
//! Read: crates/part_2_tiny_gpt/src/sampling.rs: pub fn keep_top_p
//! Read: book/src/02_tiny_gpt.md: ## Sampling

/// Probability of each token, given its logit, 1 ≤ k and 0 < p ≤ 1.
pub fn top_k_top_p(logits: &[f64], k: usize, p: f64) -> Vec<f64> {
    // SOLUTION: 16 lines: order, threshold, softmax, walk until p, divide by the sum
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a])); // stable
    let threshold = logits[order[k.min(order.len()) - 1]];
    order.retain(|&i| logits[i] >= threshold);
    let weights: Vec<f64> = order.iter().map(|&i| (logits[i] - logits[order[0]]).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut probabilities = vec![0.; logits.len()];
    let mut sum = 0.;
    for (&i, weight) in order.iter().zip(weights) {
        probabilities[i] = weight / total;
        sum += weight / total;
        if sum >= p {
            break;
        }
    }
    probabilities.iter().map(|probability| probability / sum).collect()
    // END
}

// GRADE

use tiny_gpt::Sampling;

use crate::grading::{Answers, Fill, Wrong};

type Probabilities = fn(&[f64], usize, f64) -> Vec<f64>;

/// Grader. The reference is part 2's.
pub const GRADE: Fill<Probabilities> = Fill {
    cases,
    reference: |logits, k, p| {
        let logits: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
        Sampling::Random { temperature: 1., top_k: Some(k), top_p: Some(p) }.probabilities(&logits)
    },
    tolerance: 1e-5,
    wrong: &[
        Wrong {
            f: |logits, k, p| wrongly(logits, k, p, Mistake::CrossingOut),
            says: "the token that crosses p is left out; with a small p nothing may be left",
            read: "",
        },
        Wrong {
            f: |logits, k, p| wrongly(logits, k, p, Mistake::TiesOut),
            says: "tokens that tie with the k-th are left out, and chance of order decides",
            read: "crates/part_2_tiny_gpt/src/sampling.rs: pub fn keep_top_k",
        },
        Wrong {
            f: |logits, k, p| wrongly(logits, k, p, Mistake::NotNormalized),
            says: "what is kept is not divided by its sum",
            read: "",
        },
        Wrong {
            f: |logits, k, p| wrongly(logits, k, p, Mistake::TopPFirst),
            says: "top-p works on the softmax of all logits; it comes after top-k",
            read: "",
        },
    ],
};

#[derive(PartialEq, Clone, Copy)]
enum Mistake {
    CrossingOut,
    TiesOut,
    NotNormalized,
    TopPFirst,
}

fn wrongly(logits: &[f64], k: usize, p: f64, mistake: Mistake) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let exp = |i: usize| logits[i].exp();
    let of_all: f64 = order.iter().map(|&i| exp(i)).sum();
    let threshold = logits[order[k.min(order.len()) - 1]];
    match mistake {
        Mistake::TiesOut => order.truncate(k),
        _ => order.retain(|&i| logits[i] >= threshold),
    }
    let of_kept: f64 = order.iter().map(|&i| exp(i)).sum();
    let total = if mistake == Mistake::TopPFirst { of_all } else { of_kept };
    let mut probabilities = vec![0.; logits.len()];
    let mut sum = 0.;
    for &i in &order {
        if mistake == Mistake::CrossingOut && sum + exp(i) / total >= p && sum > 0. {
            break;
        }
        probabilities[i] = exp(i) / total;
        sum += probabilities[i];
        if sum >= p {
            break;
        }
    }
    let divisor = if mistake == Mistake::NotNormalized { 1. } else { sum };
    probabilities.iter().map(|probability| probability / divisor).collect()
}

fn cases(f: Probabilities, answers: &mut Answers) {
    let logits = [1., 3., 2., 0., -1.];
    for (label, k, p) in [
        ("k = 2, p = 1", 2, 1.),
        ("k = 5, p = 0.8", 5, 0.8),
        ("k = 3, p = 0.7", 3, 0.7),
        ("k = 1", 1, 1.),
        ("p = 0.01", 5, 0.01),
        ("k above the vocabulary", 50, 0.9),
    ] {
        answers.record(label, || Ok(f(&logits, k, p)));
    }
    answers.record("three that tie, k = 2", || Ok(f(&[2., 1., 2., 0., 2.], 2, 1.)));
    for n in 0..6 {
        let logits: Vec<f64> = (0..8).map(|_| answers.rng().normal()).collect();
        let (k, p) = (2 + answers.rng().below(6), 0.3 + 0.6 * answers.rng().uniform());
        answers.record(format!("random logits {}", n + 1), || Ok(f(&logits, k, p)));
    }
}
