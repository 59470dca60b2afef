//! Text as it is generated: a token may be a third of an emoji, so text is shown once its characters are whole.
//!
//! Decoding everything anew after each token would cost O(T) per token. A token's text depends only on the tokens just
//! before it (a character in several tokens, sentencepiece's rule that the very first space is dropped), so we decode
//! two overlapping windows and show what the longer one has more: O(1) per token, as Hugging Face's streamers do.

use std::ops::Range;

use anyhow::Result;

use crate::tokenizer::{SkipSpecialTokens, Tokenizer};

/// Turns ids into text one at a time; all pieces together are [`Tokenizer::decode`] of all ids.
///
/// One exception: when a byte-fallback model writes bytes that are no UTF-8, or a long run of `�`, what was shown already
/// cannot be taken back, and the number of `�` may differ.
#[derive(Debug, Clone)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: SkipSpecialTokens,
    /// The tokens of the last piece of text shown, then those that wait.
    pub(crate) window: Vec<u32>,
    /// How many of `window` are shown.
    n_emitted: usize,
}

/// How many tokens before a text decide how it begins, at the very most.
const CONTEXT_TOKENS: usize = 8;

/// How many tokens wait at most for a character that may still become whole. One takes four tokens, but a decoder that
/// falls back to bytes judges a whole run of them at once; so many in a row are no text, and are shown as what they are.
const MAX_PENDING: usize = 64;

impl<'a> TextStream<'a> {
    /// A stream that goes on after `before`, which was shown: `[]` at the beginning of a text.
    pub fn new(tokenizer: &'a Tokenizer, markers: SkipSpecialTokens, before: &[u32]) -> Self {
        let seen = before.iter().rev().filter(|&&id| !tokenizer.is_skipped(id, markers));
        let mut window: Vec<u32> = seen.take(CONTEXT_TOKENS).copied().collect();
        window.reverse();
        Self { tokenizer, skip_special_tokens: markers, n_emitted: window.len(), window }
    }

    /// Takes one id and gives the text that is certain now: often none, sometimes several characters.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_skipped(id, self.skip_special_tokens) {
            return Ok(String::new()); // nor is it kept: a model may write nothing else
        }
        self.window.push(id);
        let end = self.window.len();
        let text = self.pending_text(end)?;
        if text.is_empty() {
            return Ok(text); // a space that sentencepiece drops
        }
        if !text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(self.emit(end, text));
        }
        if end - self.n_emitted > MAX_PENDING {
            for certain in (self.n_emitted + 1..=end - 3).rev() {
                let (before, after) = (self.pending_text(certain)?, self.decode(certain..end)?);
                if format!("{before}{after}") == text {
                    return Ok(self.emit(certain, before));
                }
            }
        }
        Ok(String::new()) // a character that may still become whole
    }

    /// What is left when no more ids come: `�` for a character that was cut off.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String> {
        self.pending_text(self.window.len())
    }

    /// Notes that all tokens before `end` are shown, with this text.
    fn emit(&mut self, end: usize, text: String) -> String {
        self.window.drain(..self.n_emitted);
        self.n_emitted = end - self.n_emitted;
        text
    }

    /// The text of the tokens that wait, up to `end`, in the light of those before.
    fn pending_text(&self, end: usize) -> Result<String> {
        let (before, all) = (self.decode(0..self.n_emitted)?, self.decode(0..end)?);
        match all.strip_prefix(&before) {
            Some(text) => Ok(text.to_string()),
            // Bytes after `before` made the decoder see it differently; it is shown, so the rest stands alone.
            None => self.decode(self.n_emitted..end),
        }
    }

    fn decode(&self, range: Range<usize>) -> Result<String> {
        self.tokenizer.decode(&self.window[range], self.skip_special_tokens)
    }
}
