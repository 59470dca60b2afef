//! Which bytes of a text its tokens come from: chat templates mark what is said, and what is said is learned (part 6).

use std::ops::Range;

use anyhow::{Error, Result};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString};

use super::Tokenizer;

impl Tokenizer {
    /// The ids of `text`, special tokens among them, and the bytes of `text` that each comes from. Apart from tokens,
    /// characters are what `original` makes of them.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
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
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok((encoding.get_ids().to_vec(), places.collect()))
    }

    /// Which bytes of `text` would become special tokens.
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

    /// `text` in pieces: added tokens, and normalized what is between them.
    fn split_at_added_tokens(&self, text: &str) -> PreTokenizedString {
        let added = self.inner.get_added_vocabulary();
        added.extract_and_normalize(self.inner.get_normalizer(), text)
    }
}
