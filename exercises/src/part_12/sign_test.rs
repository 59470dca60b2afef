//! 12.3 The sign test (fill in, 12 minutes, ●●○)
//!
//! Two models answered the same questions. On most of them both are right, or both wrong; these say
//! nothing. On `wins` only the first is right, on `losses` only the second. If the models were
//! equally good, each of these questions would be a coin's toss. Return the probability that a coin
//! splits wins + losses tosses *at least as unevenly*, in either direction; at most 1.
//!
//! Hint: P(k heads of n) = C(n, k)/2ⁿ. Unevenly: k ≤ the smaller count, or k ≥ the larger.
//! Hint: Both tails are equal: twice the sum over k = 0 .. smaller, and `min(1.)`.
//! Hint: Start with `0.5f64.powi(n)` and multiply by (n − k)/(k + 1) to get from k to k + 1.
//! Read: examples/book/significance.rs: fn sign_test
//! Read: book/src/12_is_it_better.md: ## Two models

/// Two-sided p-value of `wins` against `losses`.
pub fn sign_test(wins: u32, losses: u32) -> f64 {
    let (n, smaller) = (wins + losses, wins.min(losses));
    // SOLUTION: 6 lines: the tail up to the smaller count, twice
    let mut term = 0.5f64.powi(n as i32);
    let mut tail = 0.;
    for k in 0..=smaller {
        tail += term;
        term *= f64::from(n - k) / f64::from(k + 1);
    }
    (2. * tail).min(1.)
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Test = fn(u32, u32) -> f64;

/// Grader. The reference throws the coin by Pascal's triangle.
pub const GRADE: Fill<Test> = Fill {
    cases,
    reference: |wins, losses| {
        let mut row = vec![1.]; // probabilities of k heads
        for _ in 0..wins + losses {
            let padded = |k: usize| row.get(k).copied().unwrap_or(0.);
            let next = (0..=row.len()).map(|k| {
                let before = if k == 0 { 0. } else { padded(k - 1) };
                f64::midpoint(padded(k), before)
            });
            row = next.collect();
        }
        let uneven = wins.abs_diff(losses);
        let n = wins + losses;
        let tails = (0..=n).filter(|&k| k.abs_diff(n - k) >= uneven);
        tails.map(|k| row[k as usize]).sum()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |wins, losses| sign_test(wins, losses) / 2.,
            says: "one tail: which of the two would win was not known before",
            read: "",
        },
        Wrong {
            f: |wins, losses| {
                let (n, smaller) = (wins + losses, wins.min(losses));
                let terms = (0..smaller).map(|i| f64::from(n - i) / f64::from(i + 1));
                (2. * terms.product::<f64>() * 0.5f64.powi(n as i32)).min(1.)
            },
            says: "the probability of exactly this split; splits that are more uneven count, too",
            read: "",
        },
        Wrong {
            f: |wins, losses| {
                let smaller = wins.min(losses);
                if smaller == 0 { 0. } else { sign_test(smaller - 1, wins + losses - smaller + 1) }
            },
            says: "strictly more uneven; the split that was seen belongs to it",
            read: "",
        },
        Wrong {
            f: |wins, losses| {
                let (n, smaller) = (wins + losses, wins.min(losses));
                let mut term = 2. * 0.5f64.powi(n as i32);
                let mut tails = 0.;
                for k in 0..=smaller {
                    tails += term;
                    term *= f64::from(n - k) / f64::from(k + 1);
                }
                tails
            },
            says: "with an equal split both tails share the middle, and the sum exceeds 1",
            read: "",
        },
    ],
};

fn cases(f: Test, answers: &mut Answers) {
    for (wins, losses) in [(11, 1), (1, 11), (5, 0), (6, 1), (24, 4), (3, 3), (60, 40)] {
        answers.record(format!("{wins} to {losses}"), || Ok(f(wins, losses)));
    }
}
