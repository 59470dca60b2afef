//! 9.6 pass@k (fill in, 12 minutes, ●●○)
//!
//! Of n sampled answers to a problem c are right. The chance that at least one of k is right is
//! estimated by the share of all choices of k of the n that have a right one:
//!
//!     pass@k = 1 − C(n − c, k) / C(n, k)
//!
//! 1 − (1 − c/n)^k looks the same and is too small: it draws with putting back.
//!
//! Hint: C(n, k) overflows for large n; the quotient is a product of k factors below 1.
//! Hint: Draw one after the other: the first wrong with probability (n − c)/n, the second with
//! (n − c − 1)/(n − 1) ...
//! Hint: `let all_wrong: f64 = (0..k).map(|i| (n - c).saturating_sub(i) as f64 / (n - i) as
//! f64).product();`
//! Read: crates/part_9_grpo/src/pass_at_k.rs: pub fn pass_at_k
//! Read: book/src/09_comparing.md: ## Rewards that can be checked

/// pass@k of a problem with `c` right answers among `n`, 1 ≤ k ≤ n.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    // SOLUTION: 3 lines: the chance that k draws without putting back are all wrong
    let wrong = |i: usize| (n - c).saturating_sub(i) as f64 / (n - i) as f64;
    1. - (0..k).map(wrong).product::<f64>()
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type PassAtK = fn(usize, usize, usize) -> f64;

/// Grader. The reference is part 9's.
pub const GRADE: Fill<PassAtK> = Fill {
    cases,
    reference: grpo::pass_at_k::pass_at_k,
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |n, c, k| 1. - (1. - c as f64 / n as f64).powi(k as i32),
            says: "it draws with putting back, 1 − (1 − c/n)^k, which is too small",
            read: "",
        },
        Wrong {
            f: |n, c, k| 1. - pass_at_k(n, c, k),
            says: "that is the chance that all k are wrong",
            read: "",
        },
        Wrong {
            f: |n, c, k| (k as f64 * c as f64 / n as f64).min(1.),
            says: "chances are added; two right answers among the k would count twice",
            read: "",
        },
        Wrong {
            f: |n, c, k| (0..k).map(|i| c.saturating_sub(i) as f64 / (n - i) as f64).product(),
            says: "that is the chance that all k are right; one is enough",
            read: "",
        },
    ],
};

fn cases(f: PassAtK, answers: &mut Answers) {
    for (n, c, k) in [(4, 1, 1), (4, 1, 2), (10, 3, 5), (10, 0, 5), (10, 10, 1), (10, 8, 3)] {
        answers.record(format!("pass@{k}, {c} of {n} right"), || Ok(f(n, c, k)));
    }
    answers.record("pass@100, 7 of 1,000 right: no overflow", || Ok(f(1000, 7, 100)));
}
