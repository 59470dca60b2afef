//! Byte offsets of tokens in the text, with which chat templates mark the assistant's tokens.

use std::ops::Range;

use anyhow::{Error, Result};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString};

use super::Tokenizer;

impl Tokenizer {
    /// Token IDs of `text`, with special tokens parsed, and the byte range of each token in `text`.
    /// Between added tokens, `original` is applied to every character.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub(crate) fn encode_with_offsets(
        &self,
        text: &str,
        original: impl Fn(char) -> char,
    ) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
        let mut pieces = self.split_at_added_tokens(text);
        let restored = pieces.normalize(|piece| {
            piece.map(&original);
            Ok(())
        });
        let encoding = restored.and_then(|()| self.encode_pieces(pieces, OffsetType::Byte));
        let encoding = encoding.map_err(Error::from_boxed)?;
        let offsets = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok((encoding.get_ids().to_vec(), offsets.collect()))
    }

    /// Byte ranges of `text` that would be parsed as special tokens.
    pub(crate) fn special_token_spans(&self, text: &str) -> Vec<Range<usize>> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let pieces = self.split_at_added_tokens(text);
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter();
        let special = pieces.filter(|(_, _, tokens)| {
            let mut tokens = tokens.iter().flatten();
            tokens.any(|token| added.get(&token.id).is_some_and(|token| token.special))
        });
        special.map(|(_, (start, end), _)| start..end).collect()
    }

    /// Text split into added tokens and the normalized pieces between them.
    fn split_at_added_tokens(&self, text: &str) -> PreTokenizedString {
        let added = self.inner.get_added_vocabulary();
        added.extract_and_normalize(self.inner.get_normalizer(), text)
    }
}
