//! 12.4 It wins against itself (find the bug, 8 minutes, ●●○)
//!
//! A win rate by a model as the judge, who likes what is shown first. The new model wins 0.69 of
//! the time, and against *itself* 0.69, too. Three lines at most.
//!
//! Hint: What does the report say when both answers are the same?
//! Hint: Show both orders: the judge's liking then counts once for each side.
//! Hint: The mean of `judge(new, old)` and `1. - judge(old, new)`.
//! Read: book/src/12_is_it_better.md: *In which order?*

/// Probability that the judge prefers the answer shown first, of qualities `first` and `second`.
fn judge(first: f64, second: f64) -> f64 {
    1. / (1. + (-(first - second) - 0.8).exp())
}

/// Win rate of the new model over pairs of qualities, `[new, old]`.
pub fn wins_against_itself(pairs: &[[f64; 2]]) -> f64 {
    let mut wins = 0.;
    for &[new, old] in pairs {
        // BUG
        wins += f64::midpoint(judge(new, old), 1. - judge(old, new));
        //| wins += judge(new, old);
        // END
    }
    wins / pairs.len() as f64
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type WinRate = fn(&[[f64; 2]]) -> f64;

/// Grader. The reference judges each pair and its mirror.
pub const GRADE: Fill<WinRate> = Fill {
    cases,
    reference: |pairs| {
        let first: f64 = pairs.iter().map(|pair| judge(pair[0], pair[1])).sum();
        let second: f64 = pairs.iter().map(|pair| judge(pair[1], pair[0])).sum();
        (first + pairs.len() as f64 - second) / (2. * pairs.len() as f64)
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |pairs| {
                let wins = pairs.iter().map(|pair| 1. - judge(pair[1], pair[0]));
                wins.sum::<f64>() / pairs.len() as f64
            },
            says: "the other order only: now the old model has the advantage",
            read: "",
        },
        Wrong {
            f: |pairs| {
                let wins = pairs
                    .iter()
                    .map(|pair| f64::midpoint(judge(pair[0], pair[1]), judge(pair[1], pair[0])));
                wins.sum::<f64>() / pairs.len() as f64
            },
            says: "in the second order the judge speaks of the old model: 1 − judge(old, new)",
            read: "",
        },
        Wrong {
            f: |pairs| {
                let wins = pairs.iter().filter(|pair| pair[0] > pair[1]).count();
                wins as f64 / pairs.len() as f64
            },
            says: "the true qualities: nobody has them, and the judge was not asked",
            read: "",
        },
    ],
};

fn cases(f: WinRate, answers: &mut Answers) {
    let mut normal = || answers.rng().normal();
    let same: Vec<[f64; 2]> = (0..6).map(|_| [normal(); 2]).collect();
    let pairs: Vec<[f64; 2]> = (0..8).map(|_| [normal() + 0.5, normal()]).collect();
    answers.record("a model against itself: one half", || Ok(f(&same)));
    answers.record("a better one", || Ok(f(&pairs)));
    answers.record("a far better one", || Ok(f(&[[9., 0.]])));
}
