//! 8.17 Probe: state and action together (probe, 12 minutes, ●●●)
//!
//! Two states, two actions. In state 0 action 0 pays 1, in state 1 action 1 does, all else pays 0.
//! Now the whole agent, an actor and a critic in tables, has to work: `values[state]` and
//! `logits[state][action]`. One update after an episode of one step:
//!
//! 1. the advantage A = reward − values[state];
//! 2. a step of the logits *of this state* along A · ∇ log π(action | state);
//! 3. a step of the value of this state towards the reward, with the same lr.
//!
//! In the end all values are 1, and π(right action | state) is near 1 in both states. If the four
//! probes before this one pass and this one fails, then state and action are not combined.
//!
//! Hint: The order counts: the advantage is taken with the value as it was before the update.
//! Hint: Both updates stand in the two probes before; here they read and write row `state`.
//! Hint: `let a = reward - values[state];`, then the loop of the last exercise over
//! `logits[state]`, then `values[state] += lr * a;`
//! Read: crates/part_8_ppo/src/tests/probe_worlds/world.rs: Probe worlds: the smallest tasks
//! Read: book/src/08_trying.md: ## The policy gradient theorem

/// Probabilities of two actions.
fn softmax(logits: [f64; 2]) -> [f64; 2] {
    let exp = logits.map(f64::exp);
    exp.map(|x| x / (exp[0] + exp[1]))
}

/// Updates critic and actor after `action` in `state` earned `reward`.
pub fn probe_both(
    values: &mut [f64; 2],
    logits: &mut [[f64; 2]; 2],
    state: usize,
    action: usize,
    reward: f64,
    lr: f64,
) {
    // SOLUTION: 6 lines: the advantage, the actor's step, the critic's step
    let advantage = reward - values[state];
    let pi = softmax(logits[state]);
    for (i, logit) in logits[state].iter_mut().enumerate() {
        *logit += lr * advantage * (f64::from(u8::from(i == action)) - pi[i]);
    }
    values[state] += lr * advantage;
    // END
}

// GRADE

use tensor_core::Rng;

use crate::grading::{Answers, Fill, Wrong};

type Update = fn(&mut [f64; 2], &mut [[f64; 2]; 2], usize, usize, f64, f64);

/// Grader. The reference writes both logits out.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |values, logits, state, action, reward, lr| {
        let step = lr * (reward - values[state]);
        let other = softmax(logits[state])[1 - action];
        logits[state][action] += step * other;
        logits[state][1 - action] -= step * other;
        values[state] += step;
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                values[state] += lr * (reward - values[state]);
                let mut before = *values;
                probe_both(&mut before, logits, state, action, reward, lr);
            },
            says: "the advantage is taken after the critic's update: a part of it is gone",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut other = [values[1 - state]; 2];
                probe_both(&mut other, logits, state, action, reward, lr);
                values[state] += lr * (reward - values[state]);
            },
            says: "the baseline is the other state's value",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut shared = [logits[0]; 2];
                probe_both(values, &mut shared, state, action, reward, lr);
                *logits = [shared[state]; 2];
            },
            says: "one row of logits for both states: the policy cannot do one thing here and \
                   another there",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut none = [0.; 2];
                probe_both(&mut none, logits, state, action, reward, lr);
                values[state] += lr * (reward - values[state]);
            },
            says: "the reward for the advantage: the critic learns, and nobody asks it",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut unused = *values;
                probe_both(&mut unused, logits, state, action, reward, lr);
            },
            says: "the critic takes no step: its values stay as they were",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut unused = *values;
                probe_both(&mut unused, logits, state, action, reward, lr);
                values.iter_mut().for_each(|value| *value += lr * (reward - *value));
            },
            says: "the values of both states move: the critic does not look at the state",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut unused = *values;
                probe_both(&mut unused, logits, state, action, reward, -lr);
                values[state] += lr * (reward - values[state]);
            },
            says: "the sign of the actor's step: it learns to avoid what pays more than expected",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let step = lr * (reward - values[state]);
                logits[state][action] += step;
                values[state] += step;
            },
            says: "the −π(i) of ∇ log π is missing: the other action's logit gets no gradient",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let step = lr * (reward - values[state]);
                logits[state][action] += step * (1. - softmax(logits[state])[action]);
                values[state] += step;
            },
            says: "only the logit of the action taken moves; that of the other changes by −π(i)",
            read: "",
        },
        Wrong {
            f: |values, logits, state, action, reward, lr| {
                let mut unused = [values[state]; 2];
                probe_both(&mut unused, logits, action, state, reward, lr);
                values[state] += lr * (reward - values[state]);
            },
            says: "row and column are exchanged: it is `logits[state][action]`",
            read: "",
        },
    ],
};

fn cases(f: Update, answers: &mut Answers) {
    for (state, action) in [(0, 0), (1, 0)] {
        let updated = || {
            let (mut values, mut logits) = ([0.4, -0.2], [[0.1, 0.3], [-0.4, 0.2]]);
            f(&mut values, &mut logits, state, action, 1., 0.1);
            (values, logits)
        };
        let label = format!("after action {action} in state {state}");
        answers.record(format!("the values {label}"), || Ok(updated().0));
        answers.record(format!("the logits {label}"), || Ok(updated().1));
    }
    let trained = || {
        let (mut values, mut logits, mut rng) = ([0.; 2], [[0.; 2]; 2], Rng::new(2));
        for _ in 0..1500 {
            let state = rng.below(2);
            let action = usize::from(rng.uniform() >= softmax(logits[state])[0]);
            let reward = f64::from(u8::from(action == state));
            f(&mut values, &mut logits, state, action, reward, 0.2);
        }
        (values, logits)
    };
    let ones = |good: [bool; 2]| good.map(|good| f64::from(u8::from(good)));
    answers.record("1,500 episodes: both values are above .9", || {
        Ok(ones(trained().0.map(|value| value > 0.9)))
    });
    answers.record("1,500 episodes: π of the right action is above .9 in both states", || {
        let logits = trained().1;
        Ok(ones([0, 1].map(|state| softmax(logits[state])[state] > 0.9)))
    });
}
