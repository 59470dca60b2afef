//! 3.2 Text as it is generated: a token may be a third of an emoji, so text is shown once its characters are whole.
//!
//! Decoding everything anew after each token would cost O(T) per token. A token's text depends only on the tokens just
//! before it (a character in several tokens, sentencepiece's rule that the very first space is dropped), so we decode
//! two overlapping windows and show what the longer one has more: O(1) per token, as Hugging Face's streamers do.

use anyhow::Result;

use crate::tokenizer::{Markers, Tokenizer};

/// Turns ids into text one at a time; all pieces together are [`Tokenizer::decode`] of all ids.
///
/// One exception: when a byte-fallback model writes bytes that are no UTF-8, what was shown already cannot be taken
/// back, and the number of `�` may differ.
#[derive(Debug, Clone)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    markers: Markers,
    /// The tokens of the last piece of text shown, then those that wait.
    window: Vec<u32>,
    /// How many of `window` are shown.
    shown: usize,
}

impl<'a> TextStream<'a> {
    /// A stream at its beginning.
    pub fn new(tokenizer: &'a Tokenizer, markers: Markers) -> Self {
        Self { tokenizer, markers, window: Vec::new(), shown: 0 }
    }

    /// Takes one id and gives the text that is certain now: often none, sometimes several characters.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.window.push(id);
        let text = self.waiting()?;
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new()); // a hidden token, or a character that may still become whole
        }
        self.window.drain(..self.shown);
        self.shown = self.window.len();
        Ok(text)
    }

    /// What is left when no more ids come: `�` for a character that was cut off.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String> {
        self.waiting()
    }

    /// The text of the tokens that wait, in the light of those before.
    fn waiting(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.window[..self.shown], self.markers)?;
        let all = self.tokenizer.decode(&self.window, self.markers)?;
        match all.strip_prefix(&before) {
            Some(text) => Ok(text.to_string()),
            // Bytes after `before` made the decoder see it differently; it is shown, so the rest stands alone.
            None => self.tokenizer.decode(&self.window[self.shown..], self.markers),
        }
    }
}
