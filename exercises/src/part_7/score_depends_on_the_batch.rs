//! 7.2 A score that depends on the batch (find the bug, 6 minutes, ●○○)
//!
//! A reward model reads its score at the last token of a text. In a batch shorter texts are padded,
//! and suddenly their scores depend on how long the others are. Three lines at most.
//!
//! Hint: Which place is read in a row that is shorter than the longest?
//! Hint: The last column is padding there.
//! Hint: Row i has `lengths[i]` tokens: read place `lengths[i] - 1`.
//! Read: crates/part_7_reward/src/reward_model.rs: pub fn rewards
//! Read: book/src/07_judging.md: ## The network

/// Score of each row of `scores`, which has one score per place; row i has `lengths[i]` tokens, and
/// padding after them.
pub fn score_depends_on_the_batch(scores: &[Vec<f64>], lengths: &[usize]) -> Vec<f64> {
    let mut rewards = Vec::new();
    for (row, &length) in scores.iter().zip(lengths) {
        // BUG
        let last = length - 1;
        //| let last = row.len() - 1;
        // END
        rewards.push(row[last]);
        let _ = length;
    }
    rewards
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Rewards = fn(&[Vec<f64>], &[usize]) -> Vec<f64>;

/// Grader. The reference cuts the padding off.
pub const GRADE: Fill<Rewards> = Fill {
    cases,
    reference: |scores, lengths| {
        let cut = |(row, length): (&Vec<f64>, &usize)| row[..*length].last().copied();
        scores.iter().zip(lengths).filter_map(cut).collect()
    },
    tolerance: 0.,
    wrong: &[Wrong {
        f: |scores, lengths| {
            scores.iter().zip(lengths).map(|(row, n)| row[(*n).min(row.len() - 1)]).collect()
        },
        says: "one place too far: the first token of the padding",
        read: "",
    }],
};

fn cases(f: Rewards, answers: &mut Answers) {
    let scores: Vec<Vec<f64>> =
        (0..3).map(|_| (0..6).map(|_| answers.rng().normal()).collect()).collect();
    for lengths in [[6, 6, 6], [6, 3, 1], [2, 5, 4]] {
        answers.record(format!("texts of {lengths:?} tokens"), || Ok(f(&scores, &lengths)));
    }
}
