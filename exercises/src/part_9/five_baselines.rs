//! 9.1 Five baselines (fill in, 20 minutes, ●●○)
//!
//! A group of G completions of one prompt has rewards r. Five ways to advantages:
//!
//!     none             A = r
//!     group mean       A = r − mean(r)                          Dr. GRPO
//!     group std        A = (r − mean(r)) / (std(r) + ε)         GRPO; std divides by G − 1
//!     leave-one-out    A = r − mean of the others               RLOO
//!     best             1 for the first of the best, else 0      rejection sampling
//!
//! In a group of equals, the middle three are 0: there is nothing to compare.
//!
//! Hint: The mean of the others is (sum − r) / (G − 1).
//! Hint: The standard deviation is the root of Σ (r − mean)² / (G − 1). For equals it is 0, and ε
//! keeps the division finite.
//! Hint: The best: find the largest with `fold(f64::NEG_INFINITY, f64::max)`, then its `position`.
//! Read: crates/part_9_grpo/src/advantage.rs: pub fn advantages
//! Read: book/src/09_comparing.md: ## Advantages of a group, by hand

/// Advantages of a group in the five ways, in the order above.
pub fn five_baselines(rewards: &[f64], epsilon: f64) -> [Vec<f64>; 5] {
    // SOLUTION: 14 lines: sum, mean, standard deviation, then the five
    let g = rewards.len() as f64;
    let sum: f64 = rewards.iter().sum();
    let mean = sum / g;
    let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (g - 1.);
    let best = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let first = rewards.iter().position(|r| *r == best);
    [
        rewards.to_vec(),
        rewards.iter().map(|r| r - mean).collect(),
        rewards.iter().map(|r| (r - mean) / (variance.sqrt() + epsilon)).collect(),
        rewards.iter().map(|r| r - (sum - r) / (g - 1.)).collect(),
        (0..rewards.len()).map(|i| f64::from(u8::from(Some(i) == first))).collect(),
    ]
    // END
}

// GRADE

use grpo::advantage::{Baseline, advantages};

use crate::grading::{Answers, Fill, Wrong};

type Five = fn(&[f64], f64) -> [Vec<f64>; 5];

/// Grader. The reference is part 9's, in f32.
pub const GRADE: Fill<Five> = Fill {
    cases,
    reference: |rewards, epsilon| {
        let small: Vec<f32> = rewards.iter().map(|r| *r as f32).collect();
        let of = |baseline| {
            let a = advantages(&small, small.len(), baseline, epsilon, 0.).expect("a whole group");
            a.into_iter().map(f64::from).collect()
        };
        [
            rewards.to_vec(),
            of(Baseline::GroupMean),
            of(Baseline::GroupStd),
            of(Baseline::LeaveOneOut),
            of(Baseline::BestOfGroup),
        ]
    },
    tolerance: 1e-5,
    wrong: &[
        Wrong {
            f: |rewards, epsilon| {
                let g = rewards.len() as f64;
                let mut five = five_baselines(rewards, epsilon);
                let std = (five[1].iter().map(|a| a * a).sum::<f64>() / g).sqrt();
                five[2] = five[1].iter().map(|a| a / (std + epsilon)).collect();
                five
            },
            says: "the variance is divided by G; here by G − 1, as in TRL",
            read: "crates/part_9_grpo/src/advantage.rs: GroupStdPopulation",
        },
        Wrong {
            f: |rewards, epsilon| {
                let mut five = five_baselines(rewards, epsilon);
                five[3] = five[1].clone();
                five
            },
            says: "leave-one-out takes the mean of all; the completion itself is to be left out",
            read: "",
        },
        Wrong {
            f: |rewards, epsilon| {
                let g = rewards.len() as f64;
                let mut five = five_baselines(rewards, epsilon);
                let variance = five[1].iter().map(|a| a * a).sum::<f64>() / (g - 1.);
                five[2] = five[1].iter().map(|a| a / variance.max(epsilon)).collect();
                five
            },
            says: "it divides by the variance; the standard deviation is its root",
            read: "",
        },
        Wrong {
            f: |rewards, epsilon| {
                let best = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut five = five_baselines(rewards, epsilon);
                five[4] = rewards.iter().map(|r| f64::from(u8::from(*r == best))).collect();
                five
            },
            says: "all of the best get 1; only the first of them does",
            read: "",
        },
        Wrong {
            f: |rewards, epsilon| {
                let g = rewards.len() as f64;
                let mut five = five_baselines(rewards, epsilon);
                let variance = five[1].iter().map(|a| a * a).sum::<f64>() / (g - 1.);
                five[2] = five[1].iter().map(|a| a / (variance + epsilon).sqrt()).collect();
                five
            },
            says: "ε is inside the root; it is added to the standard deviation",
            read: "",
        },
        Wrong {
            f: |rewards, _epsilon| five_baselines(rewards, 0.),
            says: "ε is missing: in a group of equals that is 0/0",
            read: "",
        },
        Wrong {
            f: |rewards, epsilon| {
                let g = rewards.len() as f64;
                let sum: f64 = rewards.iter().sum();
                let mut five = five_baselines(rewards, epsilon);
                five[3] = rewards.iter().map(|r| r - sum / (g - 1.)).collect();
                five
            },
            says: "leave-one-out divides by G − 1, but the sum has the completion itself in it",
            read: "",
        },
    ],
};

fn cases(f: Five, answers: &mut Answers) {
    let names = ["none", "group mean", "group std", "leave-one-out", "best"];
    let groups = [vec![1., 0., 0.25, 0.75], vec![0., 1., 1., 0., 0., 1.]];
    for rewards in groups {
        for (i, name) in names.into_iter().enumerate() {
            answers.record(format!("{name}, rewards {rewards:?}"), || {
                Ok(f(&rewards, 1e-4)[i].clone())
            });
        }
    }
    answers.record("group std, ε = 0.1", || Ok(f(&[1., 0., 0.25, 0.75], 0.1)[2].clone()));
    answers.record("a group of equals: mean, std, leave-one-out", || {
        Ok(f(&[0.5; 4], 1e-4)[1..4].to_vec())
    });
}
