//! 12.1 Wilson's interval (fill in, 12 minutes, ●●○)
//!
//! Of n questions a share p̂ is right. The 95 % interval of the true share holds all p for which p̂
//! would be no surprise, (p̂ − p)² ≤ z² p (1 − p)/n with z = 1.96. That is a quadratic in p; its
//! roots are
//!
//!     [ p̂ + z²/(2n) ± z √( p̂ (1 − p̂)/n + z²/(4n²) ) ] / (1 + z²/n)
//!
//! Return both. The textbook's p̂ ± z √(p̂ (1 − p̂)/n) says of 20 right ones among 20 that there is
//! no doubt.
//!
//! Hint: Name `center` and `half` first, divide both by 1 + z²/n at the end.
//! Hint: p̂ = 1, n = 20: from 0.839 to 1.
//! Hint: `let half = z * (share * (1. - share) / n + z * z / (4. * n * n)).sqrt();`
//! Read: crates/experiment/src/statistics.rs: pub fn wilson_interval
//! Read: book/src/12_is_it_better.md: ## How sure is a share?

/// Ends of the 95 % interval of a `share` of `n` questions.
pub fn wilson(share: f64, n: usize) -> [f64; 2] {
    let (z, n) = (1.96, n as f64);
    // SOLUTION: 3 lines: center, half of the width, and both ends
    let center = share + z * z / (2. * n);
    let half = z * (share * (1. - share) / n + z * z / (4. * n * n)).sqrt();
    [center - half, center + half].map(|end| end / (1. + z * z / n))
    // END
}

// GRADE

use experiment::statistics::wilson_interval;

use crate::grading::{Answers, Fill, Wrong};

type Interval = fn(f64, usize) -> [f64; 2];

/// Grader. The reference is the one that all reports use.
pub const GRADE: Fill<Interval> = Fill {
    cases,
    reference: wilson_interval,
    tolerance: 1e-4,
    wrong: &[
        Wrong {
            f: |share, n| {
                let half = 1.96 * (share * (1. - share) / n as f64).sqrt();
                [share - half, share + half]
            },
            says: "the textbook's interval: at a share of 0 or 1 it has no length, and it leaves \
                   [0, 1]",
            read: "book/src/12_is_it_better.md: The formula in most textbooks",
        },
        Wrong {
            f: |share, n| wilson(share, n).map(|end| end * (1. + 1.96 * 1.96 / n as f64)),
            says: "the division by 1 + z²/n is missing: the upper end may exceed 1",
            read: "",
        },
        Wrong {
            f: |share, n| {
                let (z, n) = (1.96, n as f64);
                let half = z * (share * (1. - share) / n + z * z / (4. * n)).sqrt();
                [-half, half].map(|half| (share + z * z / (2. * n) + half) / (1. + z * z / n))
            },
            says: "under the root stands z²/(4n²): n is squared, too",
            read: "",
        },
        Wrong {
            f: |share, n| {
                let (z, n) = (1.96, n as f64);
                let half = z * (share * (1. - share) / n + z * z / (4. * n * n)).sqrt();
                [-half, half].map(|half| (share + half) / (1. + z * z / n))
            },
            says: "the center is p̂ + z²/(2n), a little nearer to one half than p̂",
            read: "",
        },
        Wrong {
            f: |share, n| {
                let (z, n) = (1.96, n as f64);
                let half = z * (share * (1. - share) + z * z / (4. * n * n)).sqrt();
                [-half, half].map(|half| (share + z * z / (2. * n) + half) / (1. + z * z / n))
            },
            says: "p̂ (1 − p̂) is not divided by n: more questions would not shorten the interval",
            read: "",
        },
    ],
};

fn cases(f: Interval, answers: &mut Answers) {
    for (right, n) in [(291, 500), (20, 20), (0, 500), (7, 10), (98, 100)] {
        answers.record(format!("{right} of {n} right"), || Ok(f(f64::from(right) / n as f64, n)));
    }
}
