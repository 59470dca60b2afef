//! 4.1 The BPE tokenizer: the merges of [`naive_bpe`](crate::naive_bpe), on bytes and within
//! pre-tokens as in GPT-2, whose ids this code reproduces.
//!
//! Three savings make it fast. Each distinct pre-token is merged once, with its number of
//! occurrences; a merge visits only the pre-tokens that contain the pair (`pair_counts.rs`); the
//! ids of an encoded pre-token are cached.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::{Context, Result};
use regex::Regex;
use tiny_gpt::tokenizer::byte_to_unicode;

use crate::naive_bpe::{TokenPair, adjacent_pairs, merge};
use crate::pair_counts::{PairCounts, Pretoken};
use crate::pretokenizer::pretokens;

/// Special tokens, ids 0 to 4, which plain text never encodes to. Each has a letter next to a
/// punctuation mark, so no pre-token contains one.
pub const SPECIAL_TOKENS: [&str; 5] = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"];

/// Byte-level BPE tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bpe {
    /// Bytes of every token.
    tokens: Vec<Vec<u8>>,
    /// Token id of each merged pair. Merges learned earlier have lower ids.
    merges: HashMap<TokenPair, u32>,
    /// Token id of every byte.
    byte_ids: [u32; 256],
    /// Ids of the special tokens by name; only [`Bpe::encode_with_special`] produces them.
    special_tokens: HashMap<String, u32>,
}

impl Bpe {
    /// Tokenizer without merges: the special tokens, then the bytes in the order of the characters
    /// that represent them in files.
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

    /// Tokenizer from the text of a `merges.txt`, the tokenizer file of GPT-2: one merge per line,
    /// the first learned first, with bytes written as printable characters (`Ġ` is the space). Ids
    /// are in GPT-2's order: bytes, merges, `special` tokens.
    ///
    /// # Errors
    /// When a line is not a pair of known tokens.
    pub fn from_merges(file: &str, special: &[&str]) -> Result<Self> {
        let mut bpe = Self::byte_level(&[]);
        let mut ids: HashMap<String, u32> =
            (0..256).map(|id| (bpe.id_to_token(id).unwrap_or_default(), id)).collect();
        for (at, line) in file.lines().enumerate() {
            if line.is_empty() || at == 0 && line.starts_with("#version") {
                continue;
            }
            let pair_ids = |(a, b)| Some((*ids.get(a)?, *ids.get(b)?));
            let pair = line.split_once(' ').and_then(pair_ids).with_context(|| {
                format!("line {}: `{line}` is not a pair of known tokens", at + 1)
            })?;
            let token = bpe.add_merge(pair);
            ids.insert(line.replace(' ', ""), token);
        }
        for name in special {
            bpe.add_special(name);
        }
        Ok(bpe)
    }

    /// Learns the merges of `text` until there are `vocab_size` tokens, or no pair occurs twice.
    pub fn train(text: &str, vocab_size: usize) -> Self {
        let mut bpe = Self::byte_level(&SPECIAL_TOKENS);
        let mut pretokens = bpe.pretoken_counts(text);
        let mut pairs = PairCounts::new(&pretokens);
        while bpe.vocab_size() < vocab_size
            && let Some(pair) = pairs.most_frequent()
        {
            let token = bpe.add_merge(pair);
            pairs.merge(pair, token, &mut pretokens);
        }
        bpe
    }

    /// Distinct pre-tokens of `text` as byte tokens, with their counts. A text has far fewer
    /// distinct words than words.
    fn pretoken_counts(&self, text: &str) -> Vec<Pretoken> {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for pretoken in pretokens(text) {
            *counts.entry(pretoken).or_default() += 1;
        }
        let counts = counts.into_iter();
        counts
            .map(|(pretoken, count)| Pretoken { tokens: self.byte_tokens(pretoken), count })
            .collect()
    }

    /// Ids of `text`, in which names of special tokens are ordinary text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut cache: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut ids = Vec::new();
        for pretoken in pretokens(text) {
            ids.extend_from_slice(
                cache.entry(pretoken).or_insert_with(|| self.encode_pretoken(pretoken)),
            );
        }
        ids
    }

    /// Ids of one pre-token. A new token has a higher id than its parts, so the lowest id among the
    /// possible merges is the one that was learned first; each pass applies it everywhere.
    fn encode_pretoken(&self, pretoken: &str) -> Vec<u32> {
        let mut tokens = self.byte_tokens(pretoken);
        let merge_of = |pair| self.merges.get(&pair).map(|&token| (token, pair));
        while let Some((token, pair)) = adjacent_pairs(&tokens).filter_map(merge_of).min() {
            merge(&mut tokens, pair, token);
        }
        tokens
    }

    /// Ids of `text`, in which names of special tokens are those tokens: for trusted text only.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        if self.special_tokens.is_empty() {
            return self.encode(text);
        }
        let mut names: Vec<String> =
            self.special_tokens.keys().map(|name| regex::escape(name)).collect();
        names.sort_unstable_by_key(|name| Reverse(name.len())); // the longest match wins
        let names = Regex::new(&names.join("|")).expect("escaped names are a valid pattern");
        let (mut ids, mut encoded) = (Vec::new(), 0);
        for name in names.find_iter(text) {
            ids.extend(self.encode(&text[encoded..name.start()]));
            ids.push(self.special_tokens[name.as_str()]);
            encoded = name.end();
        }
        ids.extend(self.encode(&text[encoded..]));
        ids
    }

    /// Bytes of `ids`. The bytes of an encoded text are exactly those of the text; unknown ids are
    /// skipped.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().filter_map(|&id| self.id_to_bytes(id)).flatten().copied().collect()
    }

    /// Text of `ids`, with `�` where their bytes are not valid UTF-8, for example half a character.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Bytes of token `id`.
    pub fn id_to_bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// Merged pairs in the order in which they were learned.
    pub fn merges(&self) -> Vec<TokenPair> {
        let mut merges: Vec<(u32, TokenPair)> =
            self.merges.iter().map(|(&pair, &id)| (id, pair)).collect();
        merges.sort_unstable();
        merges.into_iter().map(|(_, pair)| pair).collect()
    }

    /// Token `id` as printable characters, one per byte.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        Some(self.id_to_bytes(id)?.iter().map(|&byte| byte_to_unicode(byte)).collect())
    }

    /// Text of the merges file.
    pub fn to_merges(&self) -> String {
        let token = |id| self.id_to_token(id).unwrap_or_default();
        let line = |(a, b)| format!("{} {}\n", token(a), token(b));
        self.merges().into_iter().map(line).collect()
    }

    /// Adds the token that `pair` merges into, and returns its id.
    fn add_merge(&mut self, pair: TokenPair) -> u32 {
        let token = self.push(self.decode_bytes(&[pair.0, pair.1]));
        self.merges.insert(pair, token);
        token
    }

    /// Adds the special token `name`.
    fn add_special(&mut self, name: &str) {
        let id = self.push(name.as_bytes().to_vec());
        self.special_tokens.insert(name.to_string(), id);
    }

    fn push(&mut self, token: Vec<u8>) -> u32 {
        self.tokens.push(token);
        self.tokens.len() as u32 - 1
    }

    fn byte_tokens(&self, pretoken: &str) -> Vec<u32> {
        pretoken.bytes().map(|byte| self.byte_ids[usize::from(byte)]).collect()
    }
}
