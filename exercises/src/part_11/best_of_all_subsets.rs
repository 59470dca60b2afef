//! 11.4 Best of n, over all subsets (fill in, 15 minutes, ●●●)
//!
//! N completions were sampled, each with the judge's score and its true value. How good is the best
//! of n, n ≤ N, by the judge? Not the first n: the mean over *all* subsets of n, in which the
//! completion with the highest score is returned. No two scores are equal.
//!
//!     sorted by the score, the completion of rank i (1 .. N) is the best
//!     of C(i − 1, n − 1) of the C(N, n) subsets
//!
//! Hint: Rank i is the best of a subset if the other n − 1 are among the i − 1 below it.
//! Hint: C(i, n)/C(N, n) is the product over j < n of (i − j)/(N − j), 0 where i < n; no factorial
//! overflows. C(i − 1, n − 1) = C(i, n) − C(i − 1, n).
//! Hint: `let below = |i: usize| (0..n).map(|j| i.saturating_sub(j) as f64 / (total - j) as
//! f64).product::<f64>();`, and rank i has the weight `below(i) - below(i - 1)`.
//! Read: crates/part_10_dpo/src/best_of_n.rs: pub fn best_of_n
//! Read: book/src/11_at_test_time.md: ## Best of n

/// Mean value of the completion with the highest score, over all subsets of `n`.
pub fn best_of_all_subsets(scores: &[f64], values: &[f64], n: usize) -> f64 {
    let total = scores.len();
    let mut order: Vec<usize> = (0..total).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // SOLUTION: 4 lines: the share of subsets whose best has each rank, times its value
    let below = |i: usize| -> f64 {
        (0..n).map(|j| i.saturating_sub(j) as f64 / (total - j) as f64).product()
    };
    (1..=total).map(|i| (below(i) - below(i - 1)) * values[order[i - 1]]).sum()
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Best = fn(&[f64], &[f64], usize) -> f64;

/// Grader. The reference is part 10's.
pub const GRADE: Fill<Best> = Fill {
    cases,
    reference: dpo::best_of_n::best_of_n,
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |scores, values, n| {
                let best = (0..n).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                values[best.unwrap_or(0)]
            },
            says: "the first n only: one subset of many, and much noise",
            read: "",
        },
        Wrong {
            f: |scores, values, n| {
                let total = scores.len() as f64;
                let mut order: Vec<usize> = (0..scores.len()).collect();
                order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                let below = |i: usize| (i as f64 / total).powi(n as i32);
                (1..=order.len()).map(|i| (below(i) - below(i - 1)) * values[order[i - 1]]).sum()
            },
            says: "it draws with putting back, (i/N)^n: a completion would compete with itself",
            read: "crates/part_9_grpo/src/pass_at_k.rs: pub fn pass_at_k",
        },
        Wrong {
            f: |scores, values, n| {
                let turned: Vec<f64> = scores.iter().map(|score| -score).collect();
                best_of_all_subsets(&turned, values, n)
            },
            says: "the lowest score is returned",
            read: "",
        },
        Wrong {
            f: |_, values, n| best_of_all_subsets(values, values, n),
            says: "the best by the true values: the judge does not know them",
            read: "",
        },
    ],
};

fn cases(f: Best, answers: &mut Answers) {
    answers.record("the better of two", || Ok(f(&[0.3, 0.9], &[5., 7.], 2)));
    for (total, n) in [(6, 1), (6, 3), (6, 6), (64, 16)] {
        let scores: Vec<f64> = (0..total).map(|_| answers.rng().normal()).collect();
        let values: Vec<f64> = scores.iter().map(|score| score + answers.rng().normal()).collect();
        answers.record(format!("best of {n}, from {total}"), || Ok(f(&scores, &values, n)));
    }
}
