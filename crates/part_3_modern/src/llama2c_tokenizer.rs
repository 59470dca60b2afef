//! The tokenizer of llama2.c: byte-pair encoding whose merges are chosen by score, as in SentencePiece.
//!
//! A text starts as a space and its characters. Then, again and again, the two neighbours whose union is a piece with
//! the best score become that piece; the leftmost of equals comes first. A character that is no piece becomes its
//! bytes, whose tokens are 3 to 258, so nothing is unknown. Unlike in `run.c`, text never becomes `<s>` or `</s>`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tiny_gpt::StreamDecoder;

use crate::GgufTokenizer;
use crate::gguf_tokenizer::CONTROL;

/// The tokens of single bytes.
const BYTES: Range<u32> = 3..259;

/// Whether a sequence starts with the token of its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bos {
    /// It starts with [`Llama2cTokenizer::BOS`].
    Add,
    /// It starts with the text.
    Omit,
}

/// Turns text into tokens and back.
#[derive(Debug, Clone)]
pub struct Llama2cTokenizer {
    pieces: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
    /// For each token, how many scores are lower than its own.
    ranks: Vec<usize>,
}

impl Llama2cTokenizer {
    /// The token before every text.
    pub const BOS: u32 = 1;
    /// The token after a text.
    pub const EOS: u32 = 2;

    /// Reads a file like `tok512.bin`.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or its first pieces are not those of SentencePiece.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_bytes(&bytes)
            .with_context(|| format!("{} is no tokenizer of llama2.c", path.display()))
    }

    /// The tokenizer in the bytes of such a file: the longest piece's length, then each piece's score, length and bytes.
    ///
    /// # Errors
    /// When the bytes are damaged, or the first pieces are not those of SentencePiece.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_longest, mut rest) = bytes.split_first_chunk::<4>().context("it is truncated")?;
        let (mut pieces, mut scores) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let id = pieces.len();
            let truncated = || format!("it is truncated in piece {id}");
            let (score, after) = rest.split_first_chunk().with_context(truncated)?;
            let (length, after) = after.split_first_chunk().with_context(truncated)?;
            let (score, length) = (f32::from_le_bytes(*score), i32::from_le_bytes(*length));
            ensure!(score.is_finite(), "the score of piece {id} is {score}");
            let length = usize::try_from(length).ok();
            let length = length.with_context(|| format!("the length of piece {id} is negative"))?;
            let (piece, after) = after.split_at_checked(length).with_context(truncated)?;
            pieces.push(piece.to_vec());
            scores.push(score + 0.); // -0 becomes 0, its equal
            rest = after;
        }
        for (id, byte) in BYTES.zip(0u8..=255) {
            let is_byte = pieces.get(id as usize) == Some(&format!("<0x{byte:02X}>").into_bytes());
            ensure!(is_byte, "piece {id} is not <0x{byte:02X}>");
        }
        let mut ids = HashMap::new();
        for (id, piece) in (0..).zip(&pieces).skip(BYTES.end as usize) {
            ids.entry(piece.clone()).or_insert(id);
        }
        let mut order = scores.clone();
        order.sort_unstable_by(f32::total_cmp);
        let ranks = scores.iter().map(|score| order.partition_point(|other| other < score));
        let ranks = ranks.collect();
        Ok(Self { pieces, ids, ranks })
    }

    /// The same as a sentencepiece tokenizer, which reads text the same way.
    pub fn parts(&self) -> GgufTokenizer {
        let token = |(id, piece): (u32, &Vec<u8>)| match id {
            0 => "<unk>".to_string(),
            Self::BOS => "<s>".to_string(),
            Self::EOS => "</s>".to_string(),
            _ => String::from_utf8_lossy(piece).replace(' ', "▁"),
        };
        let kind = |id: u32| if (1..3).contains(&id) { CONTROL } else { 1 };
        let n = self.pieces.len() as u32;
        GgufTokenizer {
            model: "llama".into(),
            tokens: (0..n).zip(&self.pieces).map(token).collect(),
            scores: self.ranks.iter().map(|&rank| rank as f32).collect(),
            token_type: (0..n).map(kind).collect(),
            bos: Some(Self::BOS),
            eos: Some(Self::EOS),
            ..GgufTokenizer::default()
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes of a token's piece; a byte's own token has one like `<0x0A>`.
    pub fn piece(&self, token: u32) -> Option<&[u8]> {
        self.pieces.get(token as usize).map(Vec::as_slice)
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str, bos: Bos) -> Vec<u32> {
        let mut tokens = Vec::new();
        let prefix = if text.is_empty() { "" } else { " " };
        for character in prefix.chars().chain(text.chars()) {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            match self.ids.get(bytes) {
                Some(&id) => tokens.push(id),
                None => tokens.extend(bytes.iter().map(|&byte| BYTES.start + u32::from(byte))),
            }
        }
        let tokens = self.merge(tokens);
        match bos {
            Bos::Add => [Self::BOS].into_iter().chain(tokens).collect(),
            Bos::Omit => tokens,
        }
    }

    /// Joins neighbours until no two are a piece.
    fn merge(&self, tokens: Vec<u32>) -> Vec<u32> {
        // A merged pair stays at the place of its left half; `next` and `before` lead over the emptied places.
        let n = tokens.len();
        let mut tokens: Vec<Option<u32>> = tokens.into_iter().map(Some).collect();
        let mut next: Vec<usize> = (1..=n).collect();
        let mut before: Vec<usize> = (0..n).map(|i| i.saturating_sub(1)).collect();
        let mut merges = BinaryHeap::new(); // the best rank, then the leftmost, comes first
        for (left, pair) in tokens.windows(2).enumerate() {
            merges.extend(self.candidate(left, pair[0], pair[1]));
        }
        while let Some(Merge { place: Reverse(left), id, pair, .. }) = merges.pop() {
            let right = next[left];
            // Pieces only grow, so a pair that is still there has not changed since it was found.
            if right >= n || [tokens[left], tokens[right]] != pair.map(Some) {
                continue;
            }
            (tokens[left], tokens[right]) = (Some(id), None);
            next[left] = next[right];
            if let Some(before) = before.get_mut(next[left]) {
                *before = left;
            }
            if left > 0 {
                merges.extend(self.candidate(before[left], tokens[before[left]], tokens[left]));
            }
            if next[left] < n {
                merges.extend(self.candidate(left, tokens[left], tokens[next[left]]));
            }
        }
        tokens.into_iter().flatten().collect()
    }

    /// Joining two neighbours, the left one at `place`, if together they are a piece.
    fn candidate(&self, place: usize, left: Option<u32>, right: Option<u32>) -> Option<Merge> {
        let pair = [left?, right?];
        let id = *self.ids.get(&[self.piece(pair[0])?, self.piece(pair[1])?].concat())?;
        Some(Merge { rank: self.ranks[id as usize], place: Reverse(place), id, pair })
    }

    /// The text of `tokens`: see [`Llama2cTokenizer::stream`].
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut stream = self.stream();
        let mut text: String = tokens.iter().map(|&token| stream.push(token)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// Decodes tokens as they come. `<s>` and `</s>` are no text, the space after `<s>` is dropped, and what is no
    /// UTF-8 or no token becomes `�`.
    pub fn stream(&self) -> Llama2cStream<'_> {
        Llama2cStream { tokenizer: self, previous: None, bytes: StreamDecoder::default() }
    }
}

/// Two neighbours that together are a piece; the greatest is the one to join first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merge {
    rank: usize,
    place: Reverse<usize>,
    id: u32,
    pair: [u32; 2],
}

/// Text that comes token by token.
#[derive(Debug, Clone)]
pub struct Llama2cStream<'a> {
    tokenizer: &'a Llama2cTokenizer,
    previous: Option<u32>,
    bytes: StreamDecoder,
}

impl Llama2cStream<'_> {
    /// Takes one token and gives the text that is certain now.
    pub fn push(&mut self, token: u32) -> String {
        let previous = self.previous.replace(token);
        if token == Llama2cTokenizer::BOS || token == Llama2cTokenizer::EOS {
            return String::new();
        }
        if BYTES.contains(&token) {
            return self.bytes.push(token - BYTES.start);
        }
        let piece = self.tokenizer.piece(token).unwrap_or(&[0xFF]); // 0xFF occurs in no UTF-8 text
        let after_bos = previous == Some(Llama2cTokenizer::BOS);
        let piece = if after_bos { piece.strip_prefix(b" ").unwrap_or(piece) } else { piece };
        piece.iter().map(|&byte| self.bytes.push(u32::from(byte))).collect()
    }

    /// What is left when no more tokens come: `�` for a character that was cut off.
    pub fn finish(self) -> String {
        self.bytes.finish()
    }
}
