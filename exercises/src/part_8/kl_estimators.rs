//! 8.9 k1, k2, k3 (fill in, 6 minutes, ●●○)
//!
//! Tokens are sampled from the policy π; the KL of π from the reference is estimated from them.
//! With d = log π_ref − log π of a token:
//!
//!     k1 = −d               its mean is the KL, and it is often negative
//!     k2 = d² / 2           never negative, biased
//!     k3 = exp(d) − d − 1   never negative, and its mean is the KL
//!
//! Return the three, from the log-probabilities of one token under both.
//!
//! Hint: d is *reference minus policy*: it is negative where the policy likes a token more.
//! Hint: k3 = k1 plus a term with mean 0: E[exp(d)] = Σ π (π_ref / π) = 1.
//! Hint: `let d = ref_log_prob - log_prob; [-d, d * d / 2., d.exp() - d - 1.]`
//! Read: crates/part_8_ppo/src/kl.rs: pub enum KlEstimator
//! Read: book/src/08_trying.md: ## Estimating the KL: k1, k2, k3

/// k1, k2 and k3 of a token.
pub fn kl_estimators(log_prob: f64, ref_log_prob: f64) -> [f64; 3] {
    // SOLUTION: 2 lines: d, and the three
    let d = ref_log_prob - log_prob;
    [-d, d * d / 2., d.exp() - d - 1.]
    // END
}

// GRADE

use candle_core::{Device, Result, Tensor};
use ppo::KlEstimator::{K1, K2, K3};
use ppo::tabular_mdp::{completion_probs, log_probs, random_policy};

use crate::grading::{Answers, Fill, Wrong};

type Estimators = fn(f64, f64) -> [f64; 3];

/// Grader. The reference is part 8's.
pub const GRADE: Fill<Estimators> = Fill {
    cases,
    reference: |log_prob, ref_log_prob| {
        let number = |x| Tensor::new(&[x], &Device::Cpu).expect("a number");
        let (p, q) = (number(log_prob), number(ref_log_prob));
        [K1, K2, K3].map(|estimator| {
            let estimate = estimator.estimate(&p, &q).and_then(|x| x.to_vec1::<f64>());
            estimate.expect("a number")[0]
        })
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |p, q| kl_estimators(q, p),
            says: "d has its sign turned: it is log π_ref − log π. k3 then estimates nothing with \
                   samples of π",
            read: "",
        },
        Wrong {
            f: |p, q| {
                let [k1, k2, _] = kl_estimators(p, q);
                let d = q - p;
                [k1, k2, (-d).exp() + d - 1.]
            },
            says: "k3 has its sign turned: exp(−d) + d − 1 grows without bound in the mean",
            read: "",
        },
        Wrong {
            f: |p, q| {
                let [k1, k2, k3] = kl_estimators(p, q);
                [k1, 2. * k2, k3]
            },
            says: "the ½ of k2 is missing",
            read: "",
        },
        Wrong {
            f: |p, q| {
                let [k1, k2, _] = kl_estimators(p, q);
                [k1, k2, (q - p).exp() - 1. + (q - p)]
            },
            says: "k3 adds d; it subtracts it, so that it touches 0 at d = 0 from above",
            read: "",
        },
        Wrong {
            f: |p, q| {
                let [k1, k2, k3] = kl_estimators(p, q);
                [-k1, k2, k3]
            },
            says: "k1 has its sign turned: it is −d",
            read: "",
        },
        Wrong {
            f: |p, q| {
                let [k1, k2, k3] = kl_estimators(p, q);
                [k1, k2, k3 + 1.]
            },
            says: "the −1 of k3 is missing: for equal policies it has to be 0",
            read: "",
        },
    ],
};

fn cases(f: Estimators, answers: &mut Answers) {
    answers.record("equal policies: all 0", || Ok(f(-1.2, -1.2)));
    answers.record("a token that π likes more", || Ok(f(-0.5, -2.)));
    answers.record("one that it likes less", || Ok(f(-2., -0.5)));
    answers.record("means over all 125 completions, enumerated", || {
        let (policy, reference) = (random_policy(1)?, random_policy(2)?);
        let [p, q] = [&policy, &reference]
            .map(|policy| -> Result<Vec<f64>> { log_probs(policy)?.sum(1)?.to_vec1() });
        let weights: Vec<f64> = completion_probs(&policy)?.to_vec1()?;
        let mut means = [0.; 3];
        for ((p, q), weight) in p?.into_iter().zip(q?).zip(weights) {
            for (mean, k) in means.iter_mut().zip(f(p, q)) {
                *mean += weight * k;
            }
        }
        Ok(means)
    });
}
