//! 11.2 The majority vote (fill in, 10 minutes, ●○○)
//!
//! Sampled answers to one question, read by a parser that returns `None` where it finds no number.
//! Return the answer that occurs most often. Answers that could not be read do not vote. Of answers
//! that are equally frequent, the one that was given first wins, so that the result does not depend
//! on how a map is ordered. Without any readable answer: `None`.
//!
//! Hint: Leave the unreadable ones out first: `answers.iter().flatten()`.
//! Hint: `max_by_key` returns the *last* of equals; walk backwards, and the first one comes last.
//! Hint: `votes.iter().rev().max_by_key(|answer| votes.iter().filter(|other| other ==
//! answer).count()).copied()`
//! Read: crates/part_10_dpo/src/best_of_n.rs: pub fn majority
//! Read: book/src/11_at_test_time.md: ## The majority

/// Answer with the most votes.
pub fn majority_vote(answers: &[Option<i64>]) -> Option<i64> {
    // SOLUTION: 3 lines: the readable answers, and the first of those that occur most often
    let votes: Vec<i64> = answers.iter().flatten().copied().collect();
    let count = |answer: &i64| votes.iter().filter(|other| *other == answer).count();
    votes.iter().rev().max_by_key(|answer| count(answer)).copied()
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Vote = fn(&[Option<i64>]) -> Option<i64>;

/// Grader. The reference is part 10's, among the readable answers.
pub const GRADE: Fill<Vote> = Fill {
    cases,
    reference: |answers| {
        let votes: Vec<String> = answers.iter().flatten().map(i64::to_string).collect();
        if votes.is_empty() {
            return None;
        }
        votes[dpo::best_of_n::majority(&votes)].parse().ok()
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |answers| {
                let count =
                    |answer: &i64| answers.iter().flatten().filter(|x| *x == answer).count();
                answers.iter().flatten().max_by_key(|answer| count(answer)).copied()
            },
            says: "of answers that are equally frequent the last one wins: `max_by_key` takes it",
            read: "",
        },
        Wrong {
            f: |answers| {
                let count = |answer: &Option<i64>| answers.iter().filter(|x| *x == answer).count();
                answers.iter().rev().max_by_key(|answer| count(answer)).copied().flatten()
            },
            says: "what cannot be read has a vote: a model that rambles outvotes its answers",
            read: "",
        },
        Wrong {
            f: |answers| {
                let n = answers.len();
                let count =
                    |answer: &i64| answers.iter().flatten().filter(|x| *x == answer).count();
                majority_vote(answers).filter(|answer| 2 * count(answer) > n)
            },
            says: "more than half is asked for; the most frequent one is enough",
            read: "",
        },
        Wrong {
            f: |answers| answers.iter().flatten().next().copied(),
            says: "the first readable answer: nobody has voted",
            read: "",
        },
    ],
};

fn cases(f: Vote, answers: &mut Answers) {
    let votes: [(&str, &[Option<i64>]); 6] = [
        ("one answer", &[Some(7)]),
        ("a clear majority", &[Some(3), Some(29), Some(29), Some(64), Some(29)]),
        ("two each: the first one given", &[Some(9), Some(4), Some(9), Some(4)]),
        ("most are unreadable", &[None, None, Some(5), None, Some(-5), Some(5)]),
        ("two of five", &[Some(1), Some(2), Some(3), Some(2), Some(4)]),
        ("none is readable", &[None, None]),
    ];
    for (label, votes) in votes {
        answers.record(label, || match f(votes) {
            Some(answer) => Ok(vec![answer as f64]),
            None => Ok(Vec::new()),
        });
    }
}
