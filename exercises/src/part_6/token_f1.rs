//! 6.4 Words in common (fill in, 12 minutes, ●●○)
//!
//! Token F1 of two lists of words: how many words do completion and expected answer have in common?
//! A word that is twice in one and once in the other counts once. The precision P is that number
//! divided by the number of words of the completion, the recall R by that of the expected answer,
//! and F1 = 2 P R / (P + R), or 0 if nothing is in common. Two empty lists agree (1); of one empty
//! and one not it is 0.
//!
//! Hint: "the the the" and "the cat" have one word in common, not three and not two.
//! Hint: Take the expected words into a list, and remove each that you find.
//! Hint: 2 P R / (P + R) is 2 · common / (n + m) for lists of n and m words. Only two empty lists
//! need a case of their own.
//! Read: crates/part_6_sft/src/metrics.rs: pub fn token_f1
//! Read: book/src/06_answering.md: ## How good is it?

/// Token F1 of `completion` against `expected`.
pub fn token_f1(completion: &[&str], expected: &[&str]) -> f64 {
    // SOLUTION: 9 lines: count words in common with multiplicity, then the harmonic mean
    if completion.is_empty() && expected.is_empty() {
        return 1.;
    }
    let mut left = expected.to_vec();
    let mut common = 0.;
    for word in completion {
        if let Some(at) = left.iter().position(|other| other == word) {
            left.swap_remove(at);
            common += 1.;
        }
    }
    2. * common / (completion.len() + expected.len()) as f64
    // END
}

// GRADE

use std::collections::BTreeSet;

use crate::grading::{Answers, Fill, Wrong};

type F1 = fn(&[&str], &[&str]) -> f64;

/// Grader. The reference is part 6's.
pub const GRADE: Fill<F1> = Fill {
    cases,
    reference: |completion, expected| {
        sft::metrics::token_f1(&completion.join(" "), &expected.join(" "))
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |completion, expected| {
                let common = completion.iter().filter(|word| expected.contains(word)).count();
                f1(common, completion.len(), expected.len())
            },
            says: "each repetition counts anew: \"the the the\" would agree with \"the\" three \
                   times",
            read: "",
        },
        Wrong {
            f: |completion, expected| {
                let (a, b): (BTreeSet<_>, BTreeSet<_>) =
                    (completion.iter().collect(), expected.iter().collect());
                f1(a.intersection(&b).count(), a.len(), b.len())
            },
            says: "sets of words: how often a word occurs does not count",
            read: "",
        },
        Wrong {
            f: |completion, expected| {
                let (a, b): (BTreeSet<_>, BTreeSet<_>) =
                    (completion.iter().collect(), expected.iter().collect());
                f1(a.intersection(&b).count(), completion.len(), expected.len())
            },
            says: "the words in common are a set, in which each is counted once however often both \
                   have it",
            read: "",
        },
        Wrong {
            f: |completion, expected| {
                let total = completion.len() + expected.len();
                let common = token_f1(completion, expected) * total as f64 / 2.;
                match (completion.len(), expected.len()) {
                    (0, 0) => 1.,
                    (0, _) | (_, 0) => 0.,
                    (n, m) => (common / n as f64 + common / m as f64) / 2.,
                }
            },
            says: "the mean of P and R is the harmonic one, 2 P R / (P + R)",
            read: "",
        },
        Wrong {
            f: |completion, expected| match token_f1(completion, expected) {
                f1 if f1 == 0. && !completion.is_empty() && !expected.is_empty() => f64::NAN,
                f1 => f1,
            },
            says: "nothing in common: P + R is 0, and 2 P R / (P + R) is 0/0; F1 is 0 then",
            read: "",
        },
        Wrong {
            f: |completion, expected| match token_f1(completion, expected) {
                0. => f64::NAN,
                f1 => f1,
            },
            says: "nothing in common: P + R is 0, and of an empty list P or R alone is 0/0; F1 is \
                   0 in both cases",
            read: "",
        },
        Wrong {
            f: |completion, expected| match token_f1(completion, expected) {
                f1 if f1 == 0. || completion.is_empty() => f64::NAN,
                f1 => f1,
            },
            says: "0/0 in three cases: nothing in common, where P + R is 0; one list empty, where \
                   P or R is 0/0; and both empty, which agree",
            read: "",
        },
        Wrong {
            f: |completion, expected| match completion.len() + expected.len() {
                0 => f64::NAN,
                _ => token_f1(completion, expected),
            },
            says: "two empty lists are 0/0; they agree, and F1 is 1",
            read: "",
        },
        Wrong {
            f: |completion, expected| match completion.len() + expected.len() {
                0 => 0.,
                _ => token_f1(completion, expected),
            },
            says: "two empty lists have nothing in common, and yet they agree: F1 is 1",
            read: "",
        },
        Wrong {
            f: |completion, expected| {
                let common = token_f1(completion, expected)
                    * (completion.len() + expected.len()) as f64
                    / 2.;
                match expected.len() {
                    0 => f64::from(u8::from(completion.is_empty())),
                    n => common / n as f64,
                }
            },
            says: "that is the recall: a completion that contains everything would have 1",
            read: "",
        },
        Wrong {
            f: |completion, expected| {
                let n = completion.len().max(expected.len());
                let same = completion.iter().zip(expected).filter(|(a, b)| a == b).count();
                if n == 0 { 1. } else { f1(same, completion.len(), expected.len()) }
            },
            says: "words are compared place by place; one word in front and nothing agrees",
            read: "",
        },
        Wrong {
            f: |completion, expected| {
                let total = completion.len() + expected.len();
                let common = token_f1(completion, expected) * total as f64 / 2.;
                match completion.len() {
                    0 => f64::from(u8::from(expected.is_empty())),
                    n => common / n as f64,
                }
            },
            says: "that is the precision: one right word alone would have 1",
            read: "",
        },
    ],
};

fn f1(common: usize, n: usize, m: usize) -> f64 {
    match n + m {
        0 => 1.,
        total => 2. * common as f64 / total as f64,
    }
}

fn cases(f: F1, answers: &mut Answers) {
    let pairs: [(&str, &str); 7] = [
        ("the cat sat", "the cat sat"),
        ("it is the cat", "the cat"),
        ("the the the", "the cat"),
        ("the cat and the dog", "the dog and the cat"),
        ("a b", "c d"),
        ("", "a"),
        ("", ""),
    ];
    for (completion, expected) in pairs {
        let words = |text: &'static str| -> Vec<&str> { text.split_whitespace().collect() };
        answers.record(format!("\"{completion}\" against \"{expected}\""), || {
            Ok(f(&words(completion), &words(expected)))
        });
    }
}
