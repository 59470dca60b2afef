//! 8.1 The log-derivative on three arms (fill in, 8 minutes, ●●○)
//!
//! A policy pulls one of the three arms of a slot machine, with probabilities π = softmax(θ), and
//! gets that arm's reward.
//! The gradient of the expected reward Σ π r by θ is an expectation over the arms themselves,
//!
//!     ∇ E[r] = E[r(a) ∇ log π(a)]        (∇ log π(a))[j] = (1 if j = a, else 0) − π[j]
//!
//! which is why it can be estimated from pulls alone. Compute it exactly: sum over the arms, each
//! with its probability.
//!
//! Hint: Two loops: over the arm a that is pulled, and over the component j of the gradient.
//! Hint: Pulling arm a also changes the components of the other arms, by −π[j].
//! Hint: `gradient[j] += pi[a] * rewards[a] * (f64::from(u8::from(j == a)) - pi[j]);`
//! Read: crates/part_8_ppo/src/policy_gradient.rs: pub fn policy_gradient
//! Read: book/src/08_trying.md: ## The policy gradient theorem

/// Gradient of the expected reward by θ, given the probabilities `pi` of the arms.
pub fn log_derivative(pi: &[f64], rewards: &[f64]) -> Vec<f64> {
    let mut gradient = vec![0.; pi.len()];
    // SOLUTION: 5 lines: sum over the arms, each with its probability
    for a in 0..pi.len() {
        for j in 0..pi.len() {
            gradient[j] += pi[a] * rewards[a] * (f64::from(u8::from(j == a)) - pi[j]);
        }
    }
    // END
    gradient
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Gradient = fn(&[f64], &[f64]) -> Vec<f64>;

/// Grader. The reference differentiates Σ π r through the softmax: π[j] (r[j] − Σ π r).
pub const GRADE: Fill<Gradient> = Fill {
    cases,
    reference: |pi, rewards| {
        let mean: f64 = pi.iter().zip(rewards).map(|(p, r)| p * r).sum();
        pi.iter().zip(rewards).map(|(p, r)| p * (r - mean)).collect()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |pi, rewards| {
                let each = |j: usize| {
                    let term = |a: usize| rewards[a] * (f64::from(u8::from(j == a)) - pi[j]);
                    (0..pi.len()).map(term).sum()
                };
                (0..pi.len()).map(each).collect()
            },
            says: "every arm counts the same; an expectation weights each with its probability",
            read: "",
        },
        Wrong {
            f: |pi, rewards| {
                let n = pi.len() as f64;
                let each = |j: usize| {
                    let term = |a: usize| rewards[a] * (f64::from(u8::from(j == a)) - pi[j]);
                    (0..pi.len()).map(term).sum::<f64>() / n
                };
                (0..pi.len()).map(each).collect()
            },
            says: "this is the plain mean over the arms; weight each with its probability instead",
            read: "",
        },
        Wrong {
            f: |pi, rewards| {
                let each = |j: usize| {
                    let score = |a: usize| f64::from(u8::from(j == a)) - pi[a];
                    (0..pi.len()).map(|a| pi[a] * rewards[a] * score(a)).sum()
                };
                (0..pi.len()).map(each).collect()
            },
            says: "it is −π[j], the probability of the component's arm, and not that of the \
                   pulled one",
            read: "",
        },
        Wrong {
            f: |pi, rewards| (0..pi.len()).map(|j| pi[j] * rewards[j] * (1. - pi[j])).collect(),
            says: "only the pulled arm's own component is changed; softmax lowers the others",
            read: "",
        },
        Wrong {
            f: |pi, rewards| (0..pi.len()).map(|j| pi[j] * rewards[j]).collect(),
            says: "this is the derivative by π; by θ there is −π[j] from the softmax as well",
            read: "",
        },
        Wrong {
            f: |pi, rewards| log_derivative(pi, rewards).iter().map(|x| -x).collect(),
            says: "the sign: this is the gradient of the loss; that of the reward is asked",
            read: "",
        },
    ],
};

fn cases(f: Gradient, answers: &mut Answers) {
    answers.record("arms that pay alike: 0", || Ok(f(&[0.25, 0.25, 0.5], &[2., 2., 2.])));
    answers.record("one arm pays", || Ok(f(&[0.2, 0.3, 0.5], &[0., 1., 0.])));
    for n in 0..4 {
        let weights = [0; 3].map(|_| answers.rng().uniform() + 0.1);
        let pi = weights.map(|weight| weight / weights.iter().sum::<f64>());
        let rewards = [0; 3].map(|_| answers.rng().normal());
        answers.record(format!("random arms {}", n + 1), || Ok(f(&pi, &rewards)));
    }
}
