//! 4.1 Byte-pair encoding: start from the 256 bytes and repeatedly merge the most frequent pair of
//! adjacent tokens into a new token. Bytes alone make long texts, and a list of words lacks every
//! new word; with merges, common words become one token, rare words a few, and no text is ever
//! unknown (Sennrich et al., <https://arxiv.org/abs/1508.07909>).
//!
//! ```text
//! train    while there are fewer than vocab_size tokens:
//!              (a, b) = argmax count(a b);  ab is a new token;  replace a b by ab everywhere
//! encode   for every merge, the first learned first:  replace a b by ab
//!
//! aaabdaaabac    a a occurs 4 times              Z = aa
//! ZabdZabac      a b and Z a twice               Y = ab    of equals, the lowest ids
//! ZYdZYac        Z Y twice                       X = ZY
//! XdXac          no pair occurs twice
//! ```
//!
//! This form counts all pairs anew for every merge. [`Bpe`](crate::Bpe) learns the same merges and
//! gives the same ids, without that cost.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Minimum number of occurrences for a pair to be merged.
pub const MIN_COUNT: u64 = 2;

/// Pair of adjacent token ids.
pub type TokenPair = (u32, u32);

// ANCHOR: train
/// Learns up to `n_merges` merges of `words`, each given as its tokens. Returns the pairs in the
/// order in which they are learned; the tokens that they merge into have the ids `first_id` and up.
pub fn train(mut words: Vec<Vec<u32>>, n_merges: usize, first_id: u32) -> Vec<TokenPair> {
    let mut merges = Vec::new();
    for token in (first_id..).take(n_merges) {
        let mut counts: HashMap<TokenPair, u64> = HashMap::new();
        for pair in words.iter().flat_map(|word| adjacent_pairs(word)) {
            *counts.entry(pair).or_default() += 1;
        }
        let best = counts.into_iter().max_by_key(|&(pair, count)| (count, Reverse(pair)));
        let Some((pair, _)) = best.filter(|&(_, count)| count >= MIN_COUNT) else { break };
        for word in &mut words {
            merge(word, pair, token);
        }
        merges.push(pair);
    }
    merges
}
// ANCHOR_END: train

/// Applies `merges`, those of [`train`], to the tokens of a word. One pass in the order of learning
/// is enough: a merge creates only pairs with its own token, and all merges of these come later.
pub fn encode(mut word: Vec<u32>, merges: &[TokenPair], first_id: u32) -> Vec<u32> {
    for (&pair, token) in merges.iter().zip(first_id..) {
        merge(&mut word, pair, token);
    }
    word
}

/// Adjacent pairs of `tokens`, from left to right.
pub fn adjacent_pairs(tokens: &[u32]) -> impl Iterator<Item = TokenPair> {
    tokens.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Replaces every `pair` in `tokens` by `token`, from left to right.
pub fn merge(tokens: &mut Vec<u32>, pair: TokenPair, token: u32) {
    let (mut read, mut written) = (0, 0);
    while read < tokens.len() {
        let matches = tokens[read] == pair.0 && tokens.get(read + 1) == Some(&pair.1);
        tokens[written] = if matches { token } else { tokens[read] };
        read += if matches { 2 } else { 1 };
        written += 1;
    }
    tokens.truncate(written);
}
