//! 10.6 The first loss is not ln 2 (find the bug, 10 minutes, ●●○)
//!
//! Policy and reference begin as the same weights, so every pair's first loss is ln 2. Here it is
//! not, and it is another one at each call, although nothing has been trained. In a long run this
//! noise is part of every log-ratio. Three lines at most.
//!
//! Hint: The same weights, the same text, and two different numbers. What is random here?
//! Hint: Dropout draws a new mask at each call. A log-ratio compares two models, not two masks.
//! Hint: `Dropout::Off` in both: TRL disables dropout in the policy, too.
//! Read: book/src/10_without_trying.md: Why does the reference need no forward pass

use tensor_core::Rng;

/// Dropout while a log-probability is computed.
#[derive(Clone, Copy, PartialEq)]
enum Dropout {
    On,
    Off,
}

/// Log-probability of a completion with these `features`; dropout removes a tenth of them.
fn log_prob(weights: &[f64], features: &[f64], dropout: Dropout, rng: &mut Rng) -> f64 {
    let terms = weights.iter().zip(features).map(|(weight, feature)| {
        let removed = dropout == Dropout::On && rng.uniform() < 0.1;
        if removed { 0. } else { weight * feature }
    });
    -(1. + (-terms.sum::<f64>()).exp()).ln()
}

/// First loss of each pair of chosen and rejected features, at β = 1.
pub fn first_loss_is_not_ln_2(weights: &[f64], pairs: &[[Vec<f64>; 2]], rng: &mut Rng) -> Vec<f64> {
    let mut losses = Vec::new();
    for pair in pairs {
        // BUG
        let policy = [0, 1].map(|i| log_prob(weights, &pair[i], Dropout::Off, rng));
        let reference = [0, 1].map(|i| log_prob(weights, &pair[i], Dropout::Off, rng));
        //| let policy = [0, 1].map(|i| log_prob(weights, &pair[i], Dropout::On, rng));
        //| let reference = [0, 1].map(|i| log_prob(weights, &pair[i], Dropout::On, rng));
        // END
        let delta = (policy[0] - reference[0]) - (policy[1] - reference[1]);
        losses.push((1. + (-delta).exp()).ln());
    }
    losses
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Losses = fn(&[f64], &[[Vec<f64>; 2]], &mut Rng) -> Vec<f64>;

/// Grader. The reference knows that equal models have log-ratios of 0.
pub const GRADE: Fill<Losses> = Fill {
    cases,
    reference: |_, pairs, _| vec![2f64.ln(); pairs.len()],
    tolerance: 1e-12,
    wrong: &[Wrong {
        f: |weights, pairs, rng| {
            let loss = |pair: &[Vec<f64>; 2]| {
                let policy = [0, 1].map(|i| log_prob(weights, &pair[i], Dropout::On, rng));
                let reference = [0, 1].map(|i| log_prob(weights, &pair[i], Dropout::Off, rng));
                let delta = (policy[0] - reference[0]) - (policy[1] - reference[1]);
                (1. + (-delta).exp()).ln()
            };
            pairs.iter().map(loss).collect()
        },
        says: "the reference is quiet now, the policy is not: its mask is still in every log-ratio",
        read: "",
    }],
};

fn cases(f: Losses, answers: &mut Answers) {
    let mut normal = |n: usize| (0..n).map(|_| answers.rng().normal()).collect::<Vec<f64>>();
    let weights = normal(12);
    let pairs: Vec<[Vec<f64>; 2]> = (0..4).map(|_| [normal(12), normal(12)]).collect();
    for seed in [1, 2] {
        answers.record(format!("first losses of four pairs, dropout's seed {seed}"), || {
            Ok(f(&weights, &pairs, &mut Rng::new(seed)))
        });
    }
}
