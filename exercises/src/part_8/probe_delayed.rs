//! 8.15 Probe: a reward that comes later (probe, 10 minutes, ●●○)
//!
//! Two states in a row, no choice. The first step pays nothing, the second pays 1, then the episode
//! ends. With a discount γ the values have to become γ and 1. Whoever forgets the discount gets 1
//! and 1; whoever forgets to bootstrap, 0 and 1.
//!
//! Write one TD update: the target is r + γ V(next), and r alone where no state follows.
//!
//! Hint: `next` is `None` at the end. The value behind an end is 0.
//! Hint: `next.map_or(0., |next| values[next])`
//! Hint: `let target = reward + gamma * next.map_or(0., |next| values[next]);` and then a step
//! towards it.
//! Read: crates/part_8_ppo/src/tests/probe_worlds/world.rs: Probe worlds: the smallest tasks
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

/// Updates the value of `state`, which paid `reward` and led to `next`.
pub fn probe_delayed(
    values: &mut [f64],
    state: usize,
    reward: f64,
    next: Option<usize>,
    gamma: f64,
    lr: f64,
) {
    // SOLUTION: 2 lines: the target, and a step towards it
    let target = reward + gamma * next.map_or(0., |next| values[next]);
    values[state] += lr * (target - values[state]);
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Update = fn(&mut [f64], usize, f64, Option<usize>, f64, f64);

/// Grader. The reference is a mean of value and target.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |values, state, reward, next, gamma, lr| {
        let later = match next {
            Some(next) => gamma * values[next],
            None => 0.,
        };
        values[state] = (1. - lr) * values[state] + lr * (reward + later);
    },
    tolerance: 1e-3,
    wrong: &[
        Wrong {
            f: |values, state, reward, next, _, lr| {
                probe_delayed(values, state, reward, next, 1., lr);
            },
            says: "no discount: what comes later is worth as much as what comes now",
            read: "",
        },
        Wrong {
            f: |values, state, reward, _, gamma, lr| {
                probe_delayed(values, state, reward, None, gamma, lr);
            },
            says: "no bootstrap: the first state never hears of the reward",
            read: "book/src/08_trying.md: ## From values to advantages",
        },
        Wrong {
            f: |values, state, reward, next, gamma, lr| {
                probe_delayed(values, state, reward, next.or(Some(state)), gamma, lr);
            },
            says: "at the end it bootstraps from the last state: values run towards r/(1 − γ)",
            read: "",
        },
        Wrong {
            f: |values, state, reward, next, gamma, lr| {
                probe_delayed(values, state, reward, next.or(Some(0)), gamma, lr);
            },
            says: "where no state follows it takes the value of state 0; `None` means that nothing \
                   follows, which is worth 0",
            read: "",
        },
        Wrong {
            f: |values, state, reward, next, gamma, lr| {
                let later = next.map_or(0., |next| values[next]);
                values[state] += lr * (gamma * (reward + later) - values[state]);
            },
            says: "the reward itself is discounted; only what comes after it is",
            read: "",
        },
    ],
};

fn cases(f: Update, answers: &mut Answers) {
    answers.record("the values after one step that ends", || {
        let mut values = vec![0.5, 0.2];
        f(&mut values, 1, 1., None, 0.9, 0.1);
        Ok(values)
    });
    answers.record("the values after one step on the way", || {
        let mut values = vec![0.5, 0.2];
        f(&mut values, 0, 0., Some(1), 0.9, 0.1);
        Ok(values)
    });
    for gamma in [0.9, 0.5] {
        answers.record(format!("400 episodes, γ = {gamma}: values γ and 1"), || {
            let mut values = vec![0.; 2];
            for _ in 0..400 {
                f(&mut values, 0, 0., Some(1), gamma, 0.1);
                f(&mut values, 1, 1., None, gamma, 0.1);
            }
            Ok(values)
        });
    }
}
