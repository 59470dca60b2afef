//! 11.5 A coin solves them all (find the bug, 8 minutes, ●○○)
//!
//! "The best of 16 by our judge solves them all!" The judge is a coin, and the report is wrong: its
//! number is pass@16. What a judge picks may only depend on what the judge sees. Three lines at
//! most.
//!
//! Hint: With a judge that knows nothing, the best of 16 must be as good as one.
//! Hint: Which list decides about the winner, and which one is reported?
//! Hint: Compare `scores[a]` with `scores[b]`; `is_right` is looked at once the choice is made.
//! Read: book/src/11_at_test_time.md: **A perfect judge**

/// Share of the questions whose completion with the highest score is right. Each question has the
/// judge's scores of its completions, and whether each is right (1) or not (0).
pub fn coin_solves_them_all(questions: &[[Vec<f64>; 2]]) -> f64 {
    let mut right = 0.;
    for [scores, is_right] in questions {
        let picked = (0..scores.len()).max_by(|&a, &b| {
            // BUG
            scores[a].total_cmp(&scores[b])
            //| (is_right[a] + 1e-3 * scores[a]).total_cmp(&(is_right[b] + 1e-3 * scores[b]))
            // END
        });
        right += picked.map_or(0., |picked| is_right[picked]);
    }
    right / questions.len() as f64
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Share = fn(&[[Vec<f64>; 2]]) -> f64;

/// Grader. The reference takes the best of all subsets of all completions.
pub const GRADE: Fill<Share> = Fill {
    cases,
    reference: |questions| {
        let of = |[scores, is_right]: &[Vec<f64>; 2]| {
            dpo::best_of_n::best_of_n(scores, is_right, scores.len())
        };
        questions.iter().map(of).sum::<f64>() / questions.len() as f64
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |questions| {
                let mean =
                    |[_, right]: &[Vec<f64>; 2]| right.iter().sum::<f64>() / right.len() as f64;
                questions.iter().map(mean).sum::<f64>() / questions.len() as f64
            },
            says: "the mean of all completions: nothing is picked",
            read: "",
        },
        Wrong {
            f: |questions| {
                let first = |[_, right]: &[Vec<f64>; 2]| right[0];
                questions.iter().map(first).sum::<f64>() / questions.len() as f64
            },
            says: "the first completion: the judge is not asked",
            read: "",
        },
    ],
};

fn cases(f: Share, answers: &mut Answers) {
    for (label, knowledge) in [("a judge that knows", 5.), ("one that guesses", 0.)] {
        let questions: Vec<[Vec<f64>; 2]> = (0..50)
            .map(|_| {
                let mut draw = |_| f64::from(u8::from(answers.rng().uniform() < 0.4));
                let is_right: Vec<f64> = (0..16).map(&mut draw).collect();
                let score = |right: &f64| knowledge * right + answers.rng().normal();
                [is_right.iter().map(score).collect(), is_right]
            })
            .collect();
        answers.record(format!("{label}, best of 16 on 50 questions"), || Ok(f(&questions)));
    }
}
