//! Incremental decoding of generated tokens: a token may be a fraction of an emoji, so text is
//! emitted only when its characters are complete.
//!
//! Decoding all tokens again after each new one would cost O(T) per token. A token's text depends
//! only on a few tokens before it (characters split over several tokens; sentencepiece drops the
//! very first space). We therefore decode two overlapping windows and emit the difference, which
//! costs O(1) per token, like Hugging Face's streamers.

use std::ops::Range;

use anyhow::Result;

use crate::tokenizer::{SkipSpecialTokens, Tokenizer};

/// Streaming decoder: turns token IDs into text one at a time. The concatenated text equals
/// [`Tokenizer::decode`] of all IDs.
///
/// One exception: when a byte-fallback model generates invalid UTF-8 or a long run of `�`, emitted
/// text cannot be taken back, and the number of `�` may differ.
#[derive(Debug, Clone)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: SkipSpecialTokens,
    /// Tokens of the last emitted text, followed by the pending ones.
    pub(crate) window: Vec<u32>,
    /// Number of emitted tokens at the start of `window`.
    n_emitted: usize,
}

/// Maximum number of preceding tokens that can affect the text of the next one.
const CONTEXT_TOKENS: usize = 8;

/// Maximum number of tokens pending for an incomplete character. A character takes at most four
/// byte tokens, but a byte-fallback decoder decides about a whole run of byte tokens at once. A
/// longer run is not text and is emitted as `�`.
const MAX_PENDING: usize = 64;

impl Tokenizer {
    /// Streaming decoder that continues after the tokens `before`, whose text was already emitted.
    /// `before` is empty at the beginning of a text.
    pub fn stream(&self, skip_special_tokens: SkipSpecialTokens, before: &[u32]) -> TextStream<'_> {
        let visible = before.iter().rev();
        let visible = visible.filter(|&&id| !self.is_skipped(id, skip_special_tokens));
        let mut window: Vec<u32> = visible.take(CONTEXT_TOKENS).copied().collect();
        window.reverse();
        TextStream { tokenizer: self, skip_special_tokens, n_emitted: window.len(), window }
    }
}

impl TextStream<'_> {
    /// Appends one token ID and returns the text that is now certain: often empty, sometimes
    /// several characters.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_skipped(id, self.skip_special_tokens) {
            return Ok(String::new()); // not stored: a model may generate nothing else
        }
        self.window.push(id);
        let end = self.window.len();
        let text = self.pending_text(end)?;
        if text.is_empty() {
            // A space that sentencepiece drops, or a token that a decoder joins with the last.
            let is_long = end - self.n_emitted > MAX_PENDING;
            return Ok(if is_long { self.emit(end, text) } else { text });
        }
        if !text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(self.emit(end, text));
        }
        if end - self.n_emitted > MAX_PENDING {
            for split in (self.n_emitted + 1..=end - 3).rev() {
                let (before, after) = (self.pending_text(split)?, self.decode(split..end)?);
                if format!("{before}{after}") == text {
                    return Ok(self.emit(split, before));
                }
            }
            // A decoder such as CTC, which joins equal tokens, gives another text at each split.
            if end - self.n_emitted > 2 * MAX_PENDING {
                return Ok(self.emit(end, text));
            }
        }
        Ok(String::new()) // an incomplete character
    }

    /// Text of the pending tokens at the end of the stream: `�` for an incomplete character.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String> {
        self.pending_text(self.window.len())
    }

    /// Marks all tokens before `end` as emitted and returns `text`.
    fn emit(&mut self, end: usize, text: String) -> String {
        self.window.drain(..self.n_emitted);
        self.n_emitted = end - self.n_emitted;
        text
    }

    /// Text of the pending tokens up to `end`, decoded after the emitted ones.
    fn pending_text(&self, end: usize) -> Result<String> {
        let (before, all) = (self.decode(0..self.n_emitted)?, self.decode(0..end)?);
        match all.strip_prefix(&before) {
            Some(text) => Ok(text.to_string()),
            // Later bytes changed the decoding of `before`. It was already emitted, so decode the
            // rest separately.
            None => self.decode(self.n_emitted..end),
        }
    }

    fn decode(&self, range: Range<usize>) -> Result<String> {
        self.tokenizer.decode(&self.window[range], self.skip_special_tokens)
    }
}
