//! 4.2 Learn merges (fill in, 20 minutes, ●●●)
//!
//! Byte-pair encoding, the slow and clear way. Words are lists of ids. `n` times: count all pairs
//! of neighbours over all words, take the most frequent (of equals the smallest pair), note it, and
//! replace it everywhere by the next new id, `first_id`, `first_id + 1`, ... Stop early when no
//! pair comes twice. `merge` is given.
//!
//! Hint: `word.windows(2)` are the pairs. A `BTreeMap<(u32, u32), u64>` counts them in order.
//! Hint: `max_by_key` takes the last of equals: walk the map backwards, `.iter().rev()`, to get the
//! smallest pair.
//! Hint: `let best = counts.iter().rev().max_by_key(|(_, count)| **count);`, and break unless its
//! count is at least 2.
//! Read: crates/part_4_scaling/src/naive_bpe.rs: pub fn train
//! Read: book/src/04_scale.md: ## Tokens: byte-pair encoding

use std::collections::BTreeMap;

/// Up to `n` merges learned from `words`, the first learned first.
pub fn learn_merges(mut words: Vec<Vec<u32>>, n: usize, first_id: u32) -> Vec<(u32, u32)> {
    let mut merges = Vec::new();
    for id in (first_id..).take(n) {
        let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        // SOLUTION: 9 lines: count, take the best, merge it in all words, note it
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        let best = counts.iter().rev().max_by_key(|(_, count)| **count);
        let Some((&pair, _)) = best.filter(|(_, count)| **count >= 2) else { break };
        for word in &mut words {
            *word = merge(word, pair, id);
        }
        merges.push(pair);
        // END
    }
    merges
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

use crate::grading::{Answers, Fill, Wrong};

type Learn = fn(Vec<Vec<u32>>, usize, u32) -> Vec<(u32, u32)>;

/// Grader. The reference is part 4's.
pub const GRADE: Fill<Learn> = Fill {
    cases,
    reference: scaling::naive_bpe::train,
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |words, n, first_id| {
                let joined = vec![words.concat()];
                learn_merges(joined, n, first_id)
            },
            says: "pairs are counted across the ends of words",
            read: "crates/part_4_scaling/src/pretokenizer.rs: pub fn pretokens",
        },
        Wrong {
            f: |words, n, first_id| wrongly(words, n, first_id, Mistake::LargestOfEquals),
            says: "of equally frequent pairs the largest is taken; it is the smallest",
            read: "",
        },
        Wrong {
            f: |words, n, first_id| wrongly(words, n, first_id, Mistake::AllAtOnce),
            says: "pairs are counted once: a merge makes new pairs and takes others away",
            read: "",
        },
        Wrong {
            f: |words, n, first_id| wrongly(words, n, first_id, Mistake::Once),
            says: "pairs that come once are merged, too",
            read: "",
        },
    ],
};

#[derive(PartialEq, Clone, Copy)]
enum Mistake {
    LargestOfEquals,
    AllAtOnce,
    Once,
}

fn wrongly(mut words: Vec<Vec<u32>>, n: usize, first_id: u32, mistake: Mistake) -> Vec<(u32, u32)> {
    let mut merges = Vec::new();
    let mut first_counts = None;
    for id in (first_id..).take(n) {
        let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        if mistake == Mistake::AllAtOnce {
            let counts_left = first_counts.get_or_insert(counts.clone());
            counts_left.retain(|pair, _| !merges.contains(pair));
            counts = counts_left.clone();
        }
        let best = match mistake {
            Mistake::LargestOfEquals => counts.iter().max_by_key(|(_, count)| **count),
            _ => counts.iter().rev().max_by_key(|(_, count)| **count),
        };
        let least = if mistake == Mistake::Once { 1 } else { 2 };
        let Some((&pair, _)) = best.filter(|(_, count)| **count >= least) else { break };
        for word in &mut words {
            *word = merge(word, pair, id);
        }
        merges.push(pair);
    }
    merges
}

fn cases(f: Learn, answers: &mut Answers) {
    let mut record = |label: &str, words: Vec<Vec<u32>>, n: usize| {
        answers.record(label, || {
            let merges = f(words, n, 256).into_iter();
            Ok(merges.map(|(a, b)| [f64::from(a), f64::from(b)]).collect::<Vec<_>>())
        });
    };
    let bytes = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
    let words = |text: &str| text.split(' ').map(bytes).collect::<Vec<_>>();
    record("aaabdaaabac, three merges", words("aaabdaaabac"), 3);
    record("until no pair comes twice", words("abab cab"), 50);
    record("words that end alike", words("low low lower lowest new newer newest wider"), 12);
    let text = "the moon is high the night is deep and in the barn are seven sheep";
    record("a line of data/tiny.txt", words(text), 30);
}
