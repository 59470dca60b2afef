//! 8.5 GAE backwards (fill in, 15 minutes, ●●○)
//!
//! One completion: r[t] is the reward of token t, V[t] the critic's value before it, and
//! `bootstrap` the value behind the last one: 0 if the completion has ended, the critic's value if
//! it was cut off.
//!
//!     δ[t] = r[t] + γ V[t + 1] − V[t]          V behind the end is `bootstrap`
//!     A[t] = δ[t] + γ λ A[t + 1]               A behind the end is 0
//!
//! Return the advantages. λ = 0 trusts the values (little noise, their bias), λ = 1 the rewards.
//!
//! Hint: A[t] needs A[t + 1], so walk from the last token to the first.
//! Hint: Keep two numbers, the next value and the next advantage, and replace both at each token.
//! Hint: `for t in (0..n).rev() { let delta = rewards[t] + gamma * next_value - values[t]; ... }`
//! Read: crates/part_8_ppo/src/gae.rs: pub fn gae
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

/// Advantages of the tokens.
pub fn gae_backwards(
    rewards: &[f64],
    values: &[f64],
    bootstrap: f64,
    gamma: f64,
    lambda: f64,
) -> Vec<f64> {
    let mut advantages = vec![0.; rewards.len()];
    // SOLUTION: 6 lines: from the last token to the first
    let (mut next_value, mut next) = (bootstrap, 0.);
    for t in (0..rewards.len()).rev() {
        next = rewards[t] + gamma * next_value - values[t] + gamma * lambda * next;
        next_value = values[t];
        advantages[t] = next;
    }
    // END
    advantages
}

// GRADE

use candle_core::{Device, Result, Tensor};
use ppo::{GaeConfig, gae};

use crate::grading::{Answers, Fill, Wrong};

type Gae = fn(&[f64], &[f64], f64, f64, f64) -> Vec<f64>;

/// Grader. The reference is part 8's.
pub const GRADE: Fill<Gae> = Fill {
    cases,
    reference: |rewards, values, bootstrap, gamma, lambda| {
        let worked = || -> Result<Vec<f64>> {
            let row = |cells: &[f64]| Tensor::from_slice(cells, (1, cells.len()), &Device::Cpu);
            let (rewards, end) = (row(rewards)?, Tensor::new(&[bootstrap], &Device::Cpu)?);
            let config = GaeConfig { gamma, lambda };
            let output = gae(&rewards, &row(values)?, &end, &rewards.ones_like()?, config)?;
            output.advantages.flatten_all()?.to_vec1()
        };
        worked().expect("a row of numbers")
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |rewards, values, _bootstrap, gamma, lambda| {
                gae_backwards(rewards, values, 0., gamma, lambda)
            },
            says: "the bootstrap is not used: a completion that was cut counts as ended",
            read: "crates/part_8_ppo/src/rewards.rs: Treatment of truncated completions. They get",
        },
        Wrong {
            f: |rewards, values, bootstrap, gamma, _lambda| {
                gae_backwards(rewards, values, bootstrap, gamma, 1.)
            },
            says: "λ is missing: A[t + 1] is multiplied with γ λ",
            read: "",
        },
        Wrong {
            f: |rewards, values, bootstrap, gamma, lambda| {
                backwards(rewards, values, [bootstrap, 0.], [gamma, lambda])
            },
            says: "A[t + 1] is multiplied with λ alone; it is γ λ",
            read: "",
        },
        Wrong {
            f: |rewards, values, bootstrap, gamma, lambda| {
                backwards(rewards, values, [bootstrap, 0.], [1., gamma * lambda])
            },
            says: "γ is missing in δ: the next value counts γ V[t + 1]",
            read: "",
        },
        Wrong {
            f: |rewards, values, bootstrap, gamma, lambda| {
                let advantages = gae_backwards(rewards, values, bootstrap, gamma, lambda);
                advantages.iter().zip(values).map(|(a, v)| a + v).collect()
            },
            says: "these are the returns, A + V",
            read: "",
        },
        Wrong {
            f: |rewards, values, bootstrap, gamma, lambda| {
                let mut advantages = vec![0.; rewards.len()];
                let mut before = 0.;
                for t in 0..rewards.len() {
                    let next = values.get(t + 1).copied().unwrap_or(bootstrap);
                    before = rewards[t] + gamma * next - values[t] + gamma * lambda * before;
                    advantages[t] = before;
                }
                advantages
            },
            says: "it runs forwards: a token is credited with what came before it",
            read: "",
        },
        Wrong {
            f: |rewards, values, bootstrap, gamma, lambda| {
                backwards(rewards, values, [bootstrap, bootstrap], [gamma, gamma * lambda])
            },
            says: "the advantage behind the end begins as the bootstrap; it is 0, and the \
                   bootstrap is a value",
            read: "",
        },
    ],
};

/// A[t] = r[t] + a V[t + 1] − V[t] + b A[t + 1] with the factors `[a, b]`, and behind the end the
/// `[value, advantage]`.
fn backwards(rewards: &[f64], values: &[f64], end: [f64; 2], factors: [f64; 2]) -> Vec<f64> {
    let [mut next_value, mut next] = end;
    let mut advantages = vec![0.; rewards.len()];
    for t in (0..rewards.len()).rev() {
        next = rewards[t] + factors[0] * next_value - values[t] + factors[1] * next;
        next_value = values[t];
        advantages[t] = next;
    }
    advantages
}

fn cases(f: Gae, answers: &mut Answers) {
    answers.record("the example of chapter 8: 7.018, 7.8", || {
        Ok(f(&[-0.1, 9.8], &[1., 2.], 0., 0.9, 0.9))
    });
    answers.record("the same with λ = 0.5", || Ok(f(&[-0.1, 9.8], &[1., 2.], 0., 0.9, 0.5)));
    for (label, bootstrap) in [("ended", 0.), ("cut", 0.7)] {
        for lambda in [0., 0.95, 1.] {
            let n = 2 + answers.rng().below(5);
            let [rewards, values] =
                [0, 1].map(|_| (0..n).map(|_| answers.rng().normal()).collect::<Vec<_>>());
            answers.record(format!("{n} tokens, {label}, λ = {lambda}"), || {
                Ok(f(&rewards, &values, bootstrap, 0.9, lambda))
            });
        }
    }
}
