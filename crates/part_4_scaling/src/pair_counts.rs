//! 4.1 Pair counts, updated at every merge. A merge costs time proportional to the length of the
//! words that contain the pair, not to the length of the text.
//!
//! A heap yields the most frequent pair. Merges lower the counts of old pairs without updating the
//! heap (lazy deletion): an entry that pops with a stale count is pushed back with the current one.
//! The count of an old pair never rises, because all new pairs contain the new token.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::naive_bpe::{MIN_COUNT, TokenPair, adjacent_pairs, merge};

/// Distinct pre-token of the text.
pub(crate) struct Pretoken {
    pub(crate) tokens: Vec<u32>,
    /// Number of occurrences.
    pub(crate) count: u64,
}

/// Number of occurrences of each pair, and the pre-tokens that contain it.
#[derive(Default)]
pub(crate) struct PairCounts {
    stats: HashMap<TokenPair, PairStats>,
    /// Max-heap with one entry per pair; ties go to the lower ids. The counts may be stale (too
    /// high).
    heap: BinaryHeap<(u64, Reverse<TokenPair>)>,
}

#[derive(Default)]
struct PairStats {
    count: u64,
    pretoken_indices: Vec<usize>,
}

impl PairCounts {
    /// Counts of the pairs in `pretokens`.
    pub(crate) fn new(pretokens: &[Pretoken]) -> Self {
        let mut counts = Self::default();
        for (i, pretoken) in pretokens.iter().enumerate() {
            for pair in adjacent_pairs(&pretoken.tokens) {
                counts.add(pair, i, pretoken.count);
            }
        }
        let heap = counts.stats.iter().map(|(&pair, stats)| (stats.count, Reverse(pair)));
        counts.heap = heap.collect();
        counts
    }

    /// Adds `count` occurrences of `pair` in the pre-token with index `pretoken`; returns true if
    /// the pair is new.
    fn add(&mut self, pair: TokenPair, pretoken: usize, count: u64) -> bool {
        let stats = self.stats.entry(pair).or_default();
        let is_new = stats.pretoken_indices.is_empty();
        stats.count += count;
        if stats.pretoken_indices.last() != Some(&pretoken) {
            stats.pretoken_indices.push(pretoken);
        }
        is_new
    }

    /// Most frequent pair, if one occurs at least [`MIN_COUNT`] times.
    pub(crate) fn most_frequent(&mut self) -> Option<TokenPair> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let current = self.stats.get(&pair)?.count;
            if current == count {
                return (count >= MIN_COUNT).then_some(pair);
            }
            self.heap.push((current, Reverse(pair))); // stale: push it back with the current count
        }
        None
    }

    /// Replaces `merged` by `token` in all pre-tokens and updates the counts of the neighboring
    /// pairs. New pairs all contain `token`.
    pub(crate) fn merge(&mut self, merged: TokenPair, token: u32, pretokens: &mut [Pretoken]) {
        let mut new_pairs = Vec::new();
        for i in self.stats.remove(&merged).unwrap_or_default().pretoken_indices {
            let Pretoken { tokens, count } = &mut pretokens[i];
            for pair in adjacent_pairs(tokens) {
                self.stats.entry(pair).and_modify(|stats| stats.count -= *count);
            }
            merge(tokens, merged, token);
            for pair in adjacent_pairs(tokens) {
                if pair.0 != token && pair.1 != token {
                    self.stats.entry(pair).and_modify(|stats| stats.count += *count);
                } else if self.add(pair, i, *count) {
                    new_pairs.push(pair);
                }
            }
        }
        self.heap.extend(new_pairs.iter().map(|pair| (self.stats[pair].count, Reverse(*pair))));
    }
}
