//! 4.1 How often each pair occurs, kept while merges change the words: a merge costs what the words are long that have the
//! pair, not what the text is.
//!
//! A queue knows the most frequent pair. Merging lowers the counts of old pairs without telling it, so that whoever comes
//! out with a count that is too high goes back with the true one. No count of an old pair rises: new neighbours have the
//! new token in them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::bpe::{MIN_COUNT, TokenPair, adjacent_pairs, merge};

/// A distinct piece of the text.
pub(crate) struct Pretoken {
    pub(crate) tokens: Vec<u32>,
    /// How often it occurs.
    pub(crate) count: u64,
}

/// How often each pair occurs, and in which words.
#[derive(Default)]
pub(crate) struct PairCounts {
    stats: HashMap<TokenPair, PairStats>,
    /// Each pair once, the most frequent first, of equals that with the lower ids. The counts may have fallen since.
    heap: BinaryHeap<(u64, Reverse<TokenPair>)>,
}

#[derive(Default)]
struct PairStats {
    count: u64,
    pretoken_indices: Vec<usize>,
}

impl PairCounts {
    /// Counts those of `words`.
    pub(crate) fn new(words: &[Pretoken]) -> Self {
        let mut pairs = Self::default();
        for (at, word) in words.iter().enumerate() {
            for pair in adjacent_pairs(&word.tokens) {
                pairs.add(pair, at, word.count);
            }
        }
        pairs.heap = pairs.stats.iter().map(|(&pair, seen)| (seen.count, Reverse(pair))).collect();
        pairs
    }

    /// Whether `pair` had not been seen before.
    fn add(&mut self, pair: TokenPair, word: usize, count: u64) -> bool {
        let seen = self.stats.entry(pair).or_default();
        let new = seen.pretoken_indices.is_empty();
        seen.count += count;
        if seen.pretoken_indices.last() != Some(&word) {
            seen.pretoken_indices.push(word);
        }
        new
    }

    /// The pair that is merged next, if any occurs [`MIN_COUNT`] times.
    pub(crate) fn most_frequent(&mut self) -> Option<TokenPair> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let now = self.stats.get(&pair)?.count;
            if now == count {
                return (count >= MIN_COUNT).then_some(pair);
            }
            self.heap.push((now, Reverse(pair))); // its turn comes later
        }
        None
    }

    /// Writes `token` for its `parts` in all words: only pairs beside it change, and only pairs with `token` are new.
    pub(crate) fn merge(&mut self, parts: TokenPair, token: u32, words: &mut [Pretoken]) {
        let mut new = Vec::new();
        for at in self.stats.remove(&parts).unwrap_or_default().pretoken_indices {
            let Pretoken { tokens, count } = &mut words[at];
            for pair in adjacent_pairs(tokens) {
                self.stats.entry(pair).and_modify(|seen| seen.count -= *count);
            }
            merge(tokens, parts, token);
            for pair in adjacent_pairs(tokens) {
                if pair.0 != token && pair.1 != token {
                    self.stats.entry(pair).and_modify(|seen| seen.count += *count);
                } else if self.add(pair, at, *count) {
                    new.push(pair);
                }
            }
        }
        self.heap.extend(new.iter().map(|pair| (self.stats[pair].count, Reverse(*pair))));
    }
}
