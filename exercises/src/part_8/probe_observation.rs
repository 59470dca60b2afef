//! 8.14 Probe: a reward that the state predicts (probe, 4 minutes, ●○○)
//!
//! Two states, chosen by a coin. The first pays 1, the second −1, whatever is done. Now the critic
//! has to tell states apart: the values have to become 1 and −1. A critic that reads the wrong
//! place, or another episode's reward, learns 0 for both. (The grader also tries three states.)
//!
//! `values` has one value per state. Update the one of `state`, in place; all others stay.
//!
//! Hint: Only one of the values has seen a reward.
//! Hint: It is the update of a constant reward, at one index.
//! Hint: `values[state] += lr * (reward - values[state]);`
//! Read: crates/part_8_ppo/src/tests/probe_worlds/world.rs: Probe worlds: the smallest tasks
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

/// Updates the value of `state` after an episode that paid `reward`.
pub fn probe_observation(values: &mut [f64], state: usize, reward: f64, lr: f64) {
    // SOLUTION: 1 line: a step of this state's value towards the reward
    values[state] += lr * (reward - values[state]);
    // END
}

// GRADE

use tensor_core::Rng;

use crate::grading::{Answers, Fill, Wrong};

type Update = fn(&mut [f64], usize, f64, f64);

/// Grader. The reference computes a mean of what was and what came.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |values, state, reward, lr| {
        values[state] = (1. - lr) * values[state] + lr * reward;
    },
    tolerance: 1e-3,
    wrong: &[
        Wrong {
            f: |values, _, reward, lr| {
                values.iter_mut().for_each(|value| *value += lr * (reward - *value));
            },
            says: "all values move: the critic does not look at the state",
            read: "",
        },
        Wrong {
            f: |values, state, reward, lr| {
                let other = (state + 1) % values.len();
                values[other] += lr * (reward - values[other]);
            },
            says: "the reward goes to another state than the one that earned it",
            read: "",
        },
        Wrong {
            f: |values, state, reward, lr| {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                values[state] += lr * (reward - mean);
            },
            says: "the error is that of the mean value, not of this state's",
            read: "",
        },
    ],
};

fn cases(f: Update, answers: &mut Answers) {
    answers.record("the values after one step in the second of three states", || {
        let mut values = vec![0.5, 0.25, -1.];
        f(&mut values, 1, 2., 0.1);
        Ok(values)
    });
    answers.record("600 episodes: values 1 and −1", || {
        let (mut values, mut rng) = (vec![0.; 2], Rng::new(1));
        for _ in 0..600 {
            let state = rng.below(2);
            f(&mut values, state, [1., -1.][state], 0.1);
        }
        Ok(values)
    });
}
