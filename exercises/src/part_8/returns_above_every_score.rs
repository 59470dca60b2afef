//! 8.6 Returns above every score (find the bug, 8 minutes, ●●○)
//!
//! A completion gets its score at its last token. If it has ended, nothing comes after it; if it
//! was cut, the critic's value at the cut stands for the rest, and no score is paid. In a long run
//! the returns grow past the largest score that there is, and the critic runs after them. One line
//! is enough.
//!
//! Hint: What is the return of the last token of a completion that has ended? What can it be at
//! most?
//! Hint: A value is added behind the end token. Who will ever pay it?
//! Hint: `next` has to be 0 if `ended`.
//! Read: crates/part_8_ppo/src/rewards.rs: Treatment of truncated completions. They get
//! Read: book/src/08_trying.md: **What goes wrong: the end.**

/// Return of each of `n` tokens of a completion with this `score`: what is paid from it on.
pub fn returns_above_every_score(
    n: usize,
    score: f64,
    ended: bool,
    value_behind: f64,
    gamma: f64,
) -> Vec<f64> {
    // BUG
    let mut next = if ended { 0. } else { value_behind };
    //| let mut next = value_behind;
    // END
    let mut returns = vec![0.; n];
    for t in (0..n).rev() {
        let reward = if ended && t + 1 == n { score } else { 0. };
        next = reward + gamma * next;
        returns[t] = next;
    }
    returns
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Returns = fn(usize, f64, bool, f64, f64) -> Vec<f64>;

/// Grader. The reference is the discounted sum of what is paid.
pub const GRADE: Fill<Returns> = Fill {
    cases,
    reference: |n, score, ended, value_behind, gamma| {
        let paid = |t: usize| match ended {
            true => score * gamma.powi((n - 1 - t) as i32),
            false => value_behind * gamma.powi((n - t) as i32),
        };
        (0..n).map(paid).collect()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |n, score, _ended, _value_behind, gamma| {
                returns_above_every_score(n, score, true, 0., gamma)
            },
            says: "a completion that was cut is paid its score as if it had ended",
            read: "",
        },
        Wrong {
            f: |n, score, ended, _value_behind, gamma| {
                returns_above_every_score(n, score, ended, 0., gamma)
            },
            says: "a completion that was cut needs the value behind it, which stands for the rest",
            read: "",
        },
        Wrong {
            f: |n, score, ended, value_behind, gamma| {
                let paid = |t: usize| match ended {
                    true => {
                        score * gamma.powi((n - 1 - t) as i32)
                            + value_behind * gamma.powi((n - t) as i32)
                    }
                    false => 0.,
                };
                (0..n).map(paid).collect()
            },
            says: "the wrong way round: the value behind counts where the completion was cut, and \
                   is 0 where it has ended",
            read: "",
        },
    ],
};

fn cases(f: Returns, answers: &mut Answers) {
    answers.record("returns of 4 tokens, ended, score 1: none is above 1", || {
        Ok(f(4, 1., true, 0.8, 1.))
    });
    for (ended, label) in [(true, "ended"), (false, "cut")] {
        answers.record(format!("returns of 3 tokens, {label}, γ = 0.9"), || {
            Ok(f(3, 1., ended, 0.5, 0.9))
        });
    }
}
