//! 8.13 Probe: a constant reward (probe, 4 minutes, ●○○)
//!
//! When a whole agent fails nobody knows why. So first train its pieces in worlds whose answer is
//! known. The smallest world: one state, one action, the reward is always the same, and the episode
//! ends. The critic's value has to become that reward; nothing else can have been learned.
//!
//! Write one update of the value by gradient descent on ½ (V − target)², with the target of an
//! episode that ends here. The grader trains 300 steps with it.
//!
//! Hint: What comes after the reward? Nothing: the target has one term.
//! Hint: The derivative of ½ (V − r)² is V − r; descent subtracts lr times that.
//! Hint: `value + lr * (reward - value)`
//! Read: crates/part_8_ppo/src/tests/probe_worlds/world.rs: Probe worlds: the smallest tasks
//! Read: book/src/08_trying.md: ## From values to advantages: TD, n steps, GAE

/// Value after one update.
pub fn probe_constant(value: f64, reward: f64, lr: f64) -> f64 {
    // SOLUTION: 1 line: a step of the value towards the reward
    value + lr * (reward - value)
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Update = fn(f64, f64, f64) -> f64;

/// Grader. The reference knows what the world pays.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |value, reward, lr| (1. - lr) * value + lr * reward,
    tolerance: 1e-3,
    wrong: &[
        Wrong {
            f: |value, reward, lr| value + lr * (reward + 0.99 * value - value),
            says: "it bootstraps: a value of what comes after the end, where nothing comes. The \
                   value grows towards r/(1 − γ)",
            read: "crates/part_8_ppo/src/rewards.rs: Treatment of truncated completions. They get",
        },
        Wrong {
            f: |value, reward, lr| value - lr * (reward - value),
            says: "the sign: each step leads away from the reward",
            read: "",
        },
        Wrong {
            f: |value, reward, lr| value + lr * reward,
            says: "rewards are added up; the error is what is left of them, r − V",
            read: "",
        },
        Wrong {
            f: |_, reward, _| reward,
            says: "the value jumps to the last reward: with noise it never comes to rest",
            read: "",
        },
    ],
};

fn cases(f: Update, answers: &mut Answers) {
    let train = |mut value: f64, reward: f64| {
        for _ in 0..300 {
            value = f(value, reward, 0.1);
        }
        value
    };
    answers.record("one step from 0 towards 1, lr 0.1", || Ok(f(0., 1., 0.1)));
    answers.record("300 steps in a world that pays 1", || Ok(train(0., 1.)));
    answers.record("300 steps in a world that pays −3, from 20", || Ok(train(20., -3.)));
}
