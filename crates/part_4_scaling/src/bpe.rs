//! 4.1 Byte-pair encoding: start from the 256 bytes, and over and over make one token of the pair that stands together
//! most often. Common words become one token, rare ones a few, and no text is ever unknown.
//!
//! train    while tokens are wanted:   (a, b) = argmax count(a b);  ab is a new token;  write ab for a b everywhere
//! encode   while some pair has merged:  write ab for a b, of all such pairs the one that was learned first
//!
//! Sennrich et al., <https://arxiv.org/abs/1508.07909>; on bytes and within pieces of text as in GPT-2, whose ids this gives.

use std::cmp::Reverse;
use std::collections::HashMap;

use regex::Regex;
use tiny_gpt::tokenizer::byte_to_unicode;

use crate::pair_counts::{PairCounts, Pretoken};
use crate::pretokenizer::pretokens;

/// The tokens that no text becomes by itself: ids 0 to 4. Each has a letter beside a sign, so no piece contains one.
pub const SPECIAL_TOKENS: [&str; 5] = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"];

/// A pair that stands together less often than this is not worth a token.
pub const MIN_COUNT: u64 = 2;

/// Two neighbours.
pub type TokenPair = (u32, u32);

/// A byte-level BPE tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bpe {
    /// The bytes of every token.
    tokens: Vec<Vec<u8>>,
    /// Which token a pair became. What was learned first has the lowest id.
    merges: HashMap<TokenPair, u32>,
    /// The token of every byte.
    byte_ids: [u32; 256],
    /// The tokens that only [`Bpe::encode_with_special`] makes, by name.
    special_tokens: HashMap<String, u32>,
}

impl Bpe {
    /// The special tokens, then the bytes, in the order of the letters that stand for them in files.
    pub fn byte_level(special: &[&str]) -> Self {
        let mut bpe = Self {
            tokens: Vec::new(),
            merges: HashMap::new(),
            byte_ids: [0; 256],
            special_tokens: HashMap::new(),
        };
        for name in special {
            bpe.add_special(name);
        }
        let mut bytes: Vec<u8> = (0..=255).collect();
        bytes.sort_by_key(|&byte| byte_to_unicode(byte));
        for byte in bytes {
            bpe.byte_ids[usize::from(byte)] = bpe.push(vec![byte]);
        }
        bpe
    }

    /// Learns the merges of `text` until there are `vocab_size` tokens, or no pair occurs twice.
    pub fn train(text: &str, vocab_size: usize) -> Self {
        let mut bpe = Self::byte_level(&SPECIAL_TOKENS);
        let mut words = bpe.pretoken_counts(text);
        let mut pairs = PairCounts::new(&words);
        while bpe.vocab_size() < vocab_size
            && let Some(pair) = pairs.most_frequent()
        {
            let token = bpe.add_merge(pair);
            pairs.merge(pair, token, &mut words);
        }
        bpe
    }

    /// Every distinct piece of `text` as bytes, and how often it occurs: a text has far fewer words than places.
    fn pretoken_counts(&self, text: &str) -> Vec<Pretoken> {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for piece in pretokens(text) {
            *counts.entry(piece).or_default() += 1;
        }
        let words = counts.into_iter();
        words.map(|(piece, count)| Pretoken { tokens: self.byte_tokens(piece), count }).collect()
    }

    /// The ids of `text`, in which names of special tokens are text like any other.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut known: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut ids = Vec::new();
        for piece in pretokens(text) {
            ids.extend_from_slice(
                known.entry(piece).or_insert_with(|| self.encode_pretoken(piece)),
            );
        }
        ids
    }

    /// A new token has a higher id than its parts, so the lowest id is what training did first: each pass does all of it.
    fn encode_pretoken(&self, piece: &str) -> Vec<u32> {
        let mut tokens = self.byte_tokens(piece);
        let merge_of = |pair| self.merges.get(&pair).map(|&token| (token, pair));
        while let Some((token, pair)) = adjacent_pairs(&tokens).filter_map(merge_of).min() {
            merge(&mut tokens, pair, token);
        }
        tokens
    }

    /// The ids of `text`, in which names of special tokens are those tokens: for text that is wholly our own.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        if self.special_tokens.is_empty() {
            return self.encode(text);
        }
        let mut names: Vec<String> =
            self.special_tokens.keys().map(|name| regex::escape(name)).collect();
        names.sort_unstable_by_key(|name| Reverse(name.len())); // the longest that fits
        let names = Regex::new(&names.join("|")).expect("escaped names are a pattern");
        let (mut ids, mut done) = (Vec::new(), 0);
        for name in names.find_iter(text) {
            ids.extend(self.encode(&text[done..name.start()]));
            ids.push(self.special_tokens[name.as_str()]);
            done = name.end();
        }
        ids.extend(self.encode(&text[done..]));
        ids
    }

    /// The bytes of `ids`: of an encoded text, exactly its own. Ids that are no token give nothing.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().filter_map(|&id| self.id_to_bytes(id)).flatten().copied().collect()
    }

    /// The text of `ids`, with `�` where their bytes are no UTF-8, as when a character is cut in two.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The bytes of token `id`.
    pub fn id_to_bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// The pairs that became tokens, in the order in which they were learned.
    pub fn merges(&self) -> Vec<TokenPair> {
        let mut merges: Vec<(u32, TokenPair)> =
            self.merges.iter().map(|(&pair, &id)| (id, pair)).collect();
        merges.sort_unstable();
        merges.into_iter().map(|(_, pair)| pair).collect()
    }

    /// Makes one token of `pair`.
    pub(crate) fn add_merge(&mut self, pair: TokenPair) -> u32 {
        let token = self.push(self.decode_bytes(&[pair.0, pair.1]));
        self.merges.insert(pair, token);
        token
    }

    /// Adds the special token `name`.
    pub(crate) fn add_special(&mut self, name: &str) {
        let id = self.push(name.as_bytes().to_vec());
        self.special_tokens.insert(name.to_string(), id);
    }

    fn push(&mut self, token: Vec<u8>) -> u32 {
        self.tokens.push(token);
        self.tokens.len() as u32 - 1
    }

    fn byte_tokens(&self, piece: &str) -> Vec<u32> {
        piece.bytes().map(|byte| self.byte_ids[usize::from(byte)]).collect()
    }
}

/// The pairs of `tokens`, from left to right.
pub(crate) fn adjacent_pairs(tokens: &[u32]) -> impl Iterator<Item = TokenPair> {
    tokens.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Writes `token` for every `pair` in `tokens`, from left to right.
pub(crate) fn merge(tokens: &mut Vec<u32>, pair: TokenPair, token: u32) {
    let (mut read, mut written) = (0, 0);
    while read < tokens.len() {
        let found = tokens[read] == pair.0 && tokens.get(read + 1) == Some(&pair.1);
        tokens[written] = if found { token } else { tokens[read] };
        read += if found { 2 } else { 1 };
        written += 1;
    }
    tokens.truncate(written);
}
