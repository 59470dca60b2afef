//! Subword tokenizer, loaded from a model's `tokenizer.json`.
//!
//! A special token such as `<|im_end|>` must stay text when a user typed it, and must be one token
//! when a chat template wrote it. Every call of [`Tokenizer::encode`] chooses by [`ParseSpecial`].

mod offsets;

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;
use tokenizers::{
    AddedToken, AddedVocabulary, Encoding, Model, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::tokenizer_check::tokenizer_from_json;

/// Addition of the tokens that a model expects around a text, such as `<s>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddSpecialTokens {
    /// Add those of the tokenizer's post-processor: for complete texts.
    Yes,
    /// Add nothing: for parts of a text.
    No,
}

/// Treatment of special tokens that are spelled out in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseSpecial {
    /// Parse them as tokens: for trusted text. (For conversations, use `ChatTemplate::encode`.)
    Yes,
    /// Encode them as plain text: for user input, which then cannot end a turn or forge another
    /// one. Added tokens that are not special, such as Qwen's `<think>`, are still parsed.
    No,
}

/// Treatment of special tokens in decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipSpecialTokens {
    /// Omit them.
    Yes,
    /// Print their names.
    No,
}

/// Named special tokens of a tokenizer, as IDs (`tokenizer_config.json`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenizerSpecialTokens {
    /// Beginning-of-text token.
    pub bos: Option<u32>,
    /// End-of-text token (in a chat model: end of turn).
    pub eos: Option<u32>,
    /// Unknown token, for characters without a token of their own.
    pub unk: Option<u32>,
    /// Padding token, for short rows of a batch.
    pub pad: Option<u32>,
}

impl TokenizerSpecialTokens {
    /// Pairs of transformers' name and token ID.
    pub(crate) fn by_name(&self) -> [(&'static str, Option<u32>); 4] {
        let Self { bos, eos, unk, pad } = *self;
        [("bos_token", bos), ("eos_token", eos), ("unk_token", unk), ("pad_token", pad)]
    }
}

/// Subword tokenizer defined by a `tokenizer.json`.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Added vocabulary that leaves special tokens as text, for [`ParseSpecial::No`].
    added_without_special: AddedVocabulary,
    special_tokens: TokenizerSpecialTokens,
    vocab_size: usize,
}

impl Tokenizer {
    /// Tokenizer from the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the JSON is not a valid tokenizer, for example because a merge uses tokens outside the
    /// vocabulary.
    pub fn from_json(json: Value, special: TokenizerSpecialTokens) -> Result<Self> {
        Self::new(tokenizer_from_json(json).context("not a valid tokenizer")?, special)
    }

    /// Tokenizer of the library's `inner`, whose truncation and padding are not applied.
    ///
    /// # Errors
    /// When a special token, or one that is put around a text, is not in the vocabulary.
    pub(crate) fn new(
        mut inner: tokenizers::Tokenizer,
        special: TokenizerSpecialTokens,
    ) -> Result<Self> {
        // Files may contain the truncation and padding of training, which we never apply.
        inner.with_truncation(None).map_err(Error::from_boxed)?;
        inner.with_padding(None);
        for id in special.by_name().into_iter().filter_map(|(_, id)| id) {
            let token = inner.id_to_token(id);
            let token = token
                .with_context(|| format!("the special token {id} is not in the vocabulary"))?;
            // Like transformers: a named token is never split and is skipped in decoding, even if
            // `tokenizer.json` does not mark it as special.
            mark_special(&mut inner, id, token)?;
        }
        let around_text = inner.post_process(Encoding::default(), None, true);
        for &id in around_text.map_err(Error::from_boxed)?.get_ids() {
            let is_known = inner.id_to_token(id).is_some();
            ensure!(is_known, "it puts the token {id} around a text, which its vocabulary lacks");
        }
        let mut added_without_special = inner.get_added_vocabulary().clone();
        added_without_special.set_encode_special_tokens(true);
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Ok(Self { inner, added_without_special, special_tokens: special, vocab_size })
    }

    /// Tokenizer in which `id` is a special token, like the named ones.
    ///
    /// # Errors
    /// When `id` is not in the vocabulary.
    pub fn with_special_token(mut self, id: u32) -> Result<Self> {
        let token = self.id_to_token(id).with_context(|| format!("there is no token {id}"))?;
        mark_special(&mut self.inner, id, token)?;
        Self::new(self.inner, self.special_tokens)
    }

    /// Token IDs of `text`.
    ///
    /// # Errors
    /// When the tokenizer cannot represent a character and lacks an unknown token.
    pub fn encode(
        &self,
        text: &str,
        add_special_tokens: AddSpecialTokens,
        parse_special: ParseSpecial,
    ) -> Result<Vec<u32>> {
        let encoding = match parse_special {
            ParseSpecial::Yes => self.inner.encode_fast(text, false),
            ParseSpecial::No => {
                let added = &self.added_without_special;
                let pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
                self.encode_pieces(pieces, OffsetType::None)
            }
        };
        let add = add_special_tokens == AddSpecialTokens::Yes;
        let encoding = encoding.and_then(|encoding| self.inner.post_process(encoding, None, add));
        Ok(encoding.map_err(Error::from_boxed)?.get_ids().to_vec())
    }

    /// Steps after normalization: pre-tokenize, apply the model to each piece, and concatenate the
    /// IDs.
    fn encode_pieces(
        &self,
        mut pieces: PreTokenizedString,
        offsets: OffsetType,
    ) -> tokenizers::Result<Encoding> {
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        pieces.into_encoding(None, 0, offsets)
    }

    /// Text of `ids`, with `�` for invalid UTF-8. IDs outside the vocabulary are ignored.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: SkipSpecialTokens) -> Result<String> {
        let skip = skip_special_tokens == SkipSpecialTokens::Yes;
        self.inner.decode(ids, skip).map_err(Error::from_boxed)
    }

    /// True if `id` was added to the vocabulary of the tokenizer's model: it is never merged from
    /// other tokens.
    pub fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
    }

    /// True if [`Tokenizer::decode`] skips `id` in every context.
    pub(crate) fn is_skipped(&self, id: u32, skip_special_tokens: SkipSpecialTokens) -> bool {
        let skip = skip_special_tokens == SkipSpecialTokens::Yes;
        let is_special = |token: &str| self.inner.get_added_vocabulary().is_special_token(token);
        self.id_to_token(id).is_none_or(|token| skip && is_special(&token))
    }

    /// Vocabulary size: the highest token ID plus 1, including added tokens. Some vocabularies have
    /// gaps, so they have fewer tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// ID of the token spelled `token`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Spelling of token `id` in the vocabulary.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// True if every ID is the same token in both vocabularies.
    pub fn has_same_vocab(&self, other: &Self) -> bool {
        let mut ids = 0..self.vocab_size() as u32;
        self.vocab_size() == other.vocab_size()
            && ids.all(|id| self.id_to_token(id) == other.id_to_token(id))
    }

    /// Beginning-of-text token, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.special_tokens.bos
    }

    /// End-of-text token (in a chat model: end of turn), if the model has one.
    pub fn eos(&self) -> Option<u32> {
        self.special_tokens.eos
    }

    /// Named special tokens: BOS, EOS, unknown and padding.
    pub fn special_tokens(&self) -> TokenizerSpecialTokens {
        self.special_tokens
    }

    /// IDs of all special tokens: the named ones and others added by the file.
    pub fn all_special_ids(&self) -> Vec<u32> {
        let named = self.special_tokens.by_name().into_iter().filter_map(|(_, id)| id);
        let added = self.inner.get_added_tokens_decoder().into_iter();
        let mut ids: Vec<u32> =
            named.chain(added.filter(|(_, token)| token.special).map(|(id, _)| id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Tokenizer with `pad` as padding token.
    pub fn with_pad_token(self, pad: u32) -> Self {
        Self {
            special_tokens: TokenizerSpecialTokens { pad: Some(pad), ..self.special_tokens },
            ..self
        }
    }

    /// Content of `tokenizer.json`.
    pub(crate) fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(Error::from_boxed)
    }
}

/// Marks the token `id`, spelled `token`, as special; its other flags stay.
fn mark_special(inner: &mut tokenizers::Tokenizer, id: u32, token: String) -> Result<()> {
    let added = inner.get_added_vocabulary();
    if !added.is_special_token(&token) {
        let known = added.get_added_tokens_decoder().get(&id).cloned();
        let token = known.unwrap_or_else(|| AddedToken::from(token, true)).special(true);
        inner.add_special_tokens([token.normalized(false)]).map_err(Error::from_boxed)?;
    }
    Ok(())
}
