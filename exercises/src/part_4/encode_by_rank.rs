//! 4.3 Encode by rank (fill in, 15 minutes, ●●○)
//!
//! Merges were learned in an order, and have to be applied in it. Encode a word: look at all pairs
//! of neighbours, take the one that was learned *first*, replace it (all its occurrences, from left
//! to right) by its id, and look again, until no pair is among the merges. Merge i makes the id
//! `first_id + i`. `merge` is given.
//!
//! Hint: The rank of a pair is its place in `merges`; the lowest rank in the word comes first.
//! Hint: `word.windows(2).filter_map(|pair| merges.iter().position(|merge| *merge == (pair[0],
//! pair[1]))).min()`
//! Hint: `while let Some(rank) = ... { word = merge(&word, merges[rank], first_id + rank as u32);
//! }`
//! Read: crates/part_4_scaling/src/naive_bpe.rs: pub fn encode
//! Read: book/src/04_scale.md: ## Tokens: byte-pair encoding

/// Ids of `word` after all `merges`.
pub fn encode_by_rank(word: &[u32], merges: &[(u32, u32)], first_id: u32) -> Vec<u32> {
    let mut word = word.to_vec();
    // SOLUTION: 6 lines: while a pair has a rank, merge the one with the lowest
    let rank = |pair: &[u32]| merges.iter().position(|merge| *merge == (pair[0], pair[1]));
    while let Some(rank) = word.windows(2).filter_map(rank).min() {
        word = merge(&word, merges[rank], first_id + rank as u32);
    }
    // END
    word
}

/// `word` with `pair` replaced by `id`, from left to right.
fn merge(word: &[u32], pair: (u32, u32), id: u32) -> Vec<u32> {
    let mut merged: Vec<u32> = Vec::new();
    let mut t = 0;
    while t < word.len() {
        let matches = word[t] == pair.0 && word.get(t + 1) == Some(&pair.1);
        merged.push(if matches { id } else { word[t] });
        t += if matches { 2 } else { 1 };
    }
    merged
}

// GRADE

use scaling::naive_bpe;

use crate::grading::{Answers, Fill, Wrong};

type Encode = fn(&[u32], &[(u32, u32)], u32) -> Vec<u32>;

/// Grader. The reference is part 4's.
pub const GRADE: Fill<Encode> = Fill {
    cases,
    reference: |word, merges, first_id| naive_bpe::encode(word.to_vec(), merges, first_id),
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |word, merges, first_id| greedily(word, merges, first_id, |ranks| ranks.first()),
            says: "from left to right, whichever pair comes first in the word: the order of \
                   learning decides, not that of reading",
            read: "",
        },
        Wrong {
            f: |word, merges, first_id| {
                greedily(word, merges, first_id, |ranks| ranks.iter().max())
            },
            says: "the highest rank first: the last learned merge needs the earlier ones",
            read: "",
        },
        Wrong {
            f: |word, merges, first_id| {
                let rank = |pair: &[u32]| merges.iter().position(|m| *m == (pair[0], pair[1]));
                match word.windows(2).filter_map(rank).min() {
                    Some(rank) => merge(word, merges[rank], first_id + rank as u32),
                    None => word.to_vec(),
                }
            },
            says: "one merge only: what it makes may be part of another one",
            read: "",
        },
        Wrong {
            f: |word, merges, first_id| encode_by_rank(word, merges, first_id + 1),
            says: "ids begin at first_id: merge 0 makes first_id itself",
            read: "",
        },
    ],
};

/// Encoding that merges the pair whose rank `choose` picks among those in the word, in order.
fn greedily(
    word: &[u32],
    merges: &[(u32, u32)],
    first_id: u32,
    choose: fn(&[usize]) -> Option<&usize>,
) -> Vec<u32> {
    let mut word = word.to_vec();
    loop {
        let rank = |pair: &[u32]| merges.iter().position(|m| *m == (pair[0], pair[1]));
        let ranks: Vec<usize> = word.windows(2).filter_map(rank).collect();
        let Some(&rank) = choose(&ranks) else { return word };
        word = merge(&word, merges[rank], first_id + rank as u32);
    }
}

fn cases(f: Encode, answers: &mut Answers) {
    let ids = |word: Vec<u32>| word.into_iter().map(f64::from).collect::<Vec<f64>>();
    let worked = [(1, 2), (0, 1), (0, 10), (10, 10)]; // bc, ab, a(bc), (bc)(bc)
    answers.record("abc: bc was learned before ab", || Ok(ids(f(&[0, 1, 2], &worked, 10))));
    answers.record("a word without merges", || Ok(ids(f(&[5, 6, 7], &worked, 10))));
    for n in [6, 12, 30] {
        let words: Vec<Vec<u32>> =
            (0..20).map(|_| (0..n).map(|_| answers.rng().below(4) as u32).collect()).collect();
        let merges = naive_bpe::train(words.clone(), 12, 100);
        answers.record(format!("a word of {n} letters, 12 learned merges"), || {
            Ok(ids(f(&words[0], &merges, 100)))
        });
    }
}
