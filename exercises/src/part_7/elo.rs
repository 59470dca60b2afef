//! 7.4 Elo of a season (fill in, 15 minutes, ●●○)
//!
//! Elo is Bradley-Terry by steps: after a game between a and b, where a was expected to win with
//! probability
//!
//!     p = 1 / (1 + 10^((R_b − R_a) / 400))
//!
//! the ratings move by K times the surprise: R_a += K (won − p), R_b −= K (won − p). `won` is 1, or
//! 0 if b won. Start all at 1500 and play the games in order.
//!
//! Hint: Compute p from both ratings *before* you change either.
//! Hint: What one gains the other loses, so the mean stays 1500.
//! Hint: `let surprise = f64::from(u8::from(a_won)) - p; ratings[a] += k * surprise; ratings[b] -=
//! k * surprise;`
//! Read: crates/part_7_reward/src/losses.rs: Bradley-Terry
//! Read: book/src/07_judging.md: ## From choices to numbers

/// Ratings of `n` players after `games`: (a, b, whether a won).
pub fn elo(n: usize, games: &[(usize, usize, bool)], k: f64) -> Vec<f64> {
    let mut ratings = vec![1500.; n];
    for &(a, b, a_won) in games {
        // SOLUTION: 4 lines: expectation, surprise, both ratings
        let p = 1. / (1. + 10f64.powf((ratings[b] - ratings[a]) / 400.));
        let surprise = f64::from(u8::from(a_won)) - p;
        ratings[a] += k * surprise;
        ratings[b] -= k * surprise;
        // END
    }
    ratings
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Elo = fn(usize, &[(usize, usize, bool)], f64) -> Vec<f64>;

/// Grader. The reference steps along the gradient of Bradley-Terry's loss, in units of 400/ln 10.
pub const GRADE: Fill<Elo> = Fill {
    cases,
    reference: |n, games, k| {
        let unit = 400. / 10f64.ln();
        let mut scores = vec![1500. / unit; n];
        for &(a, b, a_won) in games {
            let (winner, loser) = if a_won { (a, b) } else { (b, a) };
            let sigmoid = 1. / (1. + (scores[winner] - scores[loser]).exp()); // −d loss / d score
            scores[winner] += k / unit * sigmoid;
            scores[loser] -= k / unit * sigmoid;
        }
        scores.iter().map(|score| score * unit).collect()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |n, games, k| wrongly(n, games, k, |a, b| 1. / (1. + 10f64.powf((a - b) / 400.))),
            says: "the exponent has its sign turned: the weaker player is expected to win",
            read: "",
        },
        Wrong {
            f: |n, games, k| wrongly(n, games, k, |a, b| 1. / (1. + ((b - a) / 400.).exp())),
            says: "e for 10: the scale of 400 belongs to powers of ten",
            read: "",
        },
        Wrong {
            f: |n, games, k| wrongly(n, games, k, |_, _| 0.5),
            says: "every game is a coin: whom one beats does not matter here",
            read: "",
        },
        Wrong {
            f: |n, games, k| {
                let mut ratings = vec![1500.; n];
                for &(a, b, a_won) in games {
                    let p = |a: f64, b: f64| 1. / (1. + 10f64.powf((b - a) / 400.));
                    let won = f64::from(u8::from(a_won));
                    ratings[a] += k * (won - p(ratings[a], ratings[b]));
                    ratings[b] -= k * (won - p(ratings[a], ratings[b]));
                }
                ratings
            },
            says: "b's change is computed from a's new rating: take both from the old ones",
            read: "",
        },
        Wrong {
            f: |n, games, k| {
                let mut ratings = vec![1500.; n];
                for &(a, b, a_won) in games {
                    let p = 1. / (1. + 10f64.powf((ratings[b] - ratings[a]) / 400.));
                    ratings[a] += k * (f64::from(u8::from(a_won)) - p);
                }
                ratings
            },
            says: "b keeps its rating: what a gains b loses",
            read: "",
        },
    ],
};

fn wrongly(
    n: usize,
    games: &[(usize, usize, bool)],
    k: f64,
    expected: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let mut ratings = vec![1500.; n];
    for &(a, b, a_won) in games {
        let surprise = f64::from(u8::from(a_won)) - expected(ratings[a], ratings[b]);
        ratings[a] += k * surprise;
        ratings[b] -= k * surprise;
    }
    ratings
}

fn cases(f: Elo, answers: &mut Answers) {
    answers.record("one game of equals: ± K/2", || Ok(f(2, &[(0, 1, true)], 32.)));
    answers.record("the same again", || Ok(f(2, &[(0, 1, true), (0, 1, true)], 32.)));
    let games: Vec<(usize, usize, bool)> = (0..60)
        .map(|_| {
            let (a, by) = (answers.rng().below(4), 1 + answers.rng().below(3));
            let b = (a + by) % 4;
            (a, b, answers.rng().uniform() < if a < b { 0.8 } else { 0.2 })
        })
        .collect();
    answers.record("a season of 60 games", || Ok(f(4, &games, 32.)));
}
