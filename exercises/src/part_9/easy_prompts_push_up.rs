//! 9.3 Easy prompts push up (find the bug, 8 minutes, ●●○)
//!
//! Advantages are to compare a completion with the others *of its prompt*. With this function an
//! easy prompt, whose completions are all right, pushes all of them up, and a hard one pushes all
//! of its completions down: there is a gradient where nothing is to be learned. Three lines at
//! most.
//!
//! Hint: What should the advantages of a group of equal rewards be?
//! Hint: Over which rewards are `mean` and `deviation` taken?
//! Hint: Inside the loop, call both with `group` instead of `rewards`.
//! Read: crates/part_9_grpo/src/advantage.rs: Groups are identified by position
//! Read: book/src/09_comparing.md: ## What the standard deviation bends

/// Advantages of `rewards`, in which every `g` consecutive ones belong to one prompt.
pub fn easy_prompts_push_up(rewards: &[f64], g: usize) -> Vec<f64> {
    let mut advantages = Vec::new();
    for group in rewards.chunks(g) {
        // BUG
        let (mean, deviation) = (mean(group), deviation(group));
        //| let (mean, deviation) = (mean(rewards), deviation(rewards));
        // END
        advantages.extend(group.iter().map(|r| (r - mean) / (deviation + 1e-4)));
    }
    advantages
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn deviation(x: &[f64]) -> f64 {
    let mean = mean(x);
    (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() as f64 - 1.)).sqrt()
}

// GRADE

use grpo::advantage::{Baseline, advantages};

use crate::grading::{Answers, Fill, Wrong};

type Advantages = fn(&[f64], usize) -> Vec<f64>;

/// Grader. The reference is part 9's, in f32.
pub const GRADE: Fill<Advantages> = Fill {
    cases,
    reference: |rewards, g| {
        let small: Vec<f32> = rewards.iter().map(|r| *r as f32).collect();
        let a = advantages(&small, g, Baseline::GroupStd, 1e-4, 0.).expect("whole groups");
        a.into_iter().map(f64::from).collect()
    },
    tolerance: 1e-5,
    wrong: &[
        Wrong {
            f: |rewards, g| {
                let of_group = |group: &[f64]| {
                    let (mean, deviation) = (mean(group), deviation(rewards));
                    group.iter().map(|r| (r - mean) / (deviation + 1e-4)).collect::<Vec<_>>()
                };
                rewards.chunks(g).flat_map(of_group).collect()
            },
            says: "the mean is the group's, the deviation still that of the batch",
            read: "",
        },
        Wrong {
            f: |rewards, g| {
                let of_group = |group: &[f64]| {
                    let (mean, deviation) = (mean(rewards), deviation(group));
                    group.iter().map(|r| (r - mean) / (deviation + 1e-4)).collect::<Vec<_>>()
                };
                rewards.chunks(g).flat_map(of_group).collect()
            },
            says: "the deviation is the group's, the mean still that of the batch",
            read: "",
        },
    ],
};

fn cases(f: Advantages, answers: &mut Answers) {
    let rewards = [1., 1., 1., 1., 0., 0., 0., 0., 1., 0., 0.5, 0.25];
    answers.record("a group in which all are right", || Ok(f(&rewards, 4)[..4].to_vec()));
    answers.record("a group in which all are wrong", || Ok(f(&rewards, 4)[4..8].to_vec()));
    answers.record("a mixed group", || Ok(f(&rewards, 4)[8..].to_vec()));
}
