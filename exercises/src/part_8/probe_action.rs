//! 8.16 Probe: an action that matters (probe, 10 minutes, ●●○)
//!
//! One state, two actions (or more: `logits.len()`), one of which pays 1 more than the other. Now
//! the policy has to learn: a softmax over `logits`. Write one update by the policy gradient,
//!
//!     logits += lr · A · ∇ log π(action)        A = reward − baseline
//!
//! The grader lets it act 400 times in a world that pays (0, 1), and in one that pays (10, 11) with
//! the baseline 10.5. In both the second action's probability has to come near 1. Then it makes 300
//! mean updates, over all actions, in a world of three that pays (0, 0, 1), with the baseline 3,
//! which is too high: a baseline changes nothing on average, so the third action has to win.
//!
//! Hint: ∇ log softmax has a short form, in which the probability of each action occurs.
//! Hint: ∂ log π(a)/∂ logit i = 1 if i is a, else 0, less π(i).
//! Hint: `*logit += lr * (reward - baseline) * (f64::from(u8::from(i == action)) - pi[i]);`
//! Read: crates/part_8_ppo/src/tests/probe_worlds/world.rs: Probe worlds: the smallest tasks
//! Read: book/src/08_trying.md: ## The policy gradient theorem

/// Probabilities of the actions.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let exp: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
    exp.iter().map(|x| x / exp.iter().sum::<f64>()).collect()
}

/// Updates the policy's logits after `action` earned `reward`.
pub fn probe_action(logits: &mut [f64], action: usize, reward: f64, baseline: f64, lr: f64) {
    let pi = softmax(logits);
    // SOLUTION: 4 lines: a step along A ∇ log π(action), logit by logit
    for (i, logit) in logits.iter_mut().enumerate() {
        let chosen = f64::from(u8::from(i == action));
        *logit += lr * (reward - baseline) * (chosen - pi[i]);
    }
    // END
}

// GRADE

use tensor_core::Rng;

use crate::grading::{Answers, Fill, Wrong};

type Update = fn(&mut [f64], usize, f64, f64, f64);

/// Grader. The reference differentiates log π numerically.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |logits, action, reward, baseline, lr| {
        let log_pi = |logits: &[f64]| softmax(logits)[action].ln();
        let step = 1e-5;
        let gradient: Vec<f64> = (0..logits.len())
            .map(|i| {
                let moved = |by: f64| {
                    let mut logits = logits.to_vec();
                    logits[i] += by;
                    log_pi(&logits)
                };
                (moved(step) - moved(-step)) / (2. * step)
            })
            .collect();
        for (logit, gradient) in logits.iter_mut().zip(gradient) {
            *logit += lr * (reward - baseline) * gradient;
        }
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |logits, action, reward, baseline, lr| {
                probe_action(logits, action, reward, baseline, -lr);
            },
            says: "the sign: it learns to avoid what pays",
            read: "",
        },
        Wrong {
            f: |logits, action, reward, _, lr| probe_action(logits, action, reward, 0., lr),
            says: "no baseline: where both actions pay it runs after whichever came first",
            read: "book/src/08_trying.md: ## The baseline",
        },
        Wrong {
            f: |logits, action, reward, baseline, lr| {
                logits[action] += lr * (reward - baseline);
            },
            says: "the −π(i) of ∇ log π is missing: the other actions get no gradient",
            read: "",
        },
        Wrong {
            f: |logits, action, reward, baseline, lr| {
                let pi = softmax(logits)[action];
                logits[action] += lr * (reward - baseline) * (1. - pi);
            },
            says: "only the logit of the action taken moves; those of the others change by −π(i). \
                   With two actions that is half a step, with three it goes astray",
            read: "",
        },
        Wrong {
            f: |logits, action, reward, baseline, lr| {
                let pi = softmax(logits);
                for (i, logit) in logits.iter_mut().enumerate() {
                    let chosen = f64::from(u8::from(i == action));
                    *logit += lr * (reward - baseline) * pi[action] * (chosen - pi[i]);
                }
            },
            says: "∇ π for ∇ log π: sampling has weighed the action with π already",
            read: "book/src/08_trying.md: ## The policy gradient theorem",
        },
    ],
};

fn cases(f: Update, answers: &mut Answers) {
    for action in [0, 2] {
        answers.record(format!("the logits after action {action}"), || {
            let mut logits = vec![0.2, -0.5, 1.];
            f(&mut logits, action, 1.5, 0.5, 0.1);
            Ok(logits)
        });
    }
    for (label, rewards, baseline) in
        [("paying (0, 1)", [0., 1.], 0.5), ("paying (10, 11)", [10., 11.], 10.5)]
    {
        answers.record(format!("400 actions in a world {label}: learned is 1"), || {
            let (mut logits, mut rng) = (vec![0.; 2], Rng::new(3));
            for _ in 0..400 {
                let action = usize::from(rng.uniform() >= softmax(&logits)[0]);
                f(&mut logits, action, rewards[action], baseline, 0.3);
            }
            Ok(f64::from(u8::from(softmax(&logits)[1] > 0.95)))
        });
    }
    answers.record("300 mean updates in the world paying (0, 0, 1): learned is 1", || {
        let mut logits = vec![0.; 3];
        for _ in 0..300 {
            let before = logits.clone();
            for (action, reward) in [0., 0., 1.].into_iter().enumerate() {
                let mut after = before.clone();
                f(&mut after, action, reward, 3., 0.3);
                for (i, logit) in logits.iter_mut().enumerate() {
                    *logit += softmax(&before)[action] * (after[i] - before[i]);
                }
            }
        }
        Ok(f64::from(u8::from(softmax(&logits)[2] > 0.95)))
    });
}
