//! The subword tokenizer: a model's own `tokenizer.json`, so that its text becomes the ids it was trained on.
//!
//! Special tokens are where text and commands meet: `<|im_end|>` typed by a user must stay text, written by a chat
//! template it must be one token. [`Spelled`] makes every call say which.

mod offsets;

use std::path::Path;

use anyhow::{Context, Error, Result};
use serde_json::Value;
use tensor_core::atomic_file;
use tokenizers::{
    AddedToken, AddedVocabulary, Encoding, Model, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::ChatTemplate;
use crate::text_stream::TextStream;
use crate::tokenizer_check::tokenizer_from_json;
use crate::tokenizer_config::{self, TokenizerSpecialTokens};

/// Whether the tokens that a model expects around a text, such as `<s>`, are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddSpecialTokens {
    /// Those that the tokenizer's own post-processor adds: for plain text.
    Yes,
    /// None: for pieces of a text.
    No,
}

/// What the name of a special token, written out in a text, becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseSpecial {
    /// The token: for text that is wholly our own. (A conversation has parts of either kind: `ChatTemplate::encode`.)
    Yes,
    /// Text like any other: for what a user wrote, who so cannot end a turn or forge another one. Added tokens that are
    /// not special, such as Qwen's `<think>`, are tokens all the same.
    No,
}

/// What special tokens become when decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipSpecialTokens {
    /// Nothing.
    Yes,
    /// Their names.
    No,
}

/// Turns text into ids and back, as a `tokenizer.json` says.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The added tokens once more, set to leave the special ones in the text: [`Spelled::Text`].
    added_without_special: AddedVocabulary,
    special_tokens: TokenizerSpecialTokens,
}

impl Tokenizer {
    /// Opens a folder's `tokenizer.json`, or that file itself; the files beside it name the [`SpecialTokens`].
    ///
    /// # Errors
    /// When there is no such file, or it or a file beside it is damaged.
    pub fn open(folder_or_file: &Path) -> Result<Self> {
        let file = match folder_or_file.is_dir() {
            true => folder_or_file.join("tokenizer.json"),
            false => folder_or_file.to_path_buf(),
        };
        let bytes = std::fs::read(&file)
            .with_context(|| format!("reading {} (a model needs its tokenizer)", file.display()))?;
        // Read as JSON first: on a wrong comma within its decoder, the library panics.
        let inner = serde_json::from_slice(&bytes)
            .map_err(Error::from)
            .and_then(tokenizer_from_json)
            .with_context(|| format!("{} is no tokenizer; download it again", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let special = TokenizerSpecialTokens::open(folder, &inner)?;
        Self::new(inner, special)
    }

    /// The tokenizer that the JSON of a `tokenizer.json` describes.
    ///
    /// # Errors
    /// When it describes none, for example with a merge of tokens that are not in the vocabulary.
    pub fn from_json(json: Value, special: TokenizerSpecialTokens) -> Result<Self> {
        Self::new(tokenizer_from_json(json).context("this describes no tokenizer")?, special)
    }

    fn new(mut inner: tokenizers::Tokenizer, special: TokenizerSpecialTokens) -> Result<Self> {
        // What a file was trained with; a text is never cut or filled up behind the caller's back.
        inner.with_truncation(None).map_err(Error::from_boxed)?;
        inner.with_padding(None);
        for id in special.by_name().into_iter().filter_map(|(_, id)| id) {
            let token = inner.id_to_token(id);
            let token = token
                .with_context(|| format!("the special token {id} is not in the vocabulary"))?;
            // What is named so is kept whole and hidden, as in transformers, even where `tokenizer.json` does not say it.
            if !inner.get_added_vocabulary().is_special_token(&token) {
                let token = AddedToken::from(token, true).normalized(false);
                inner.add_special_tokens([token]).map_err(Error::from_boxed)?;
            }
        }
        let mut plain = inner.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        Ok(Self { inner, added_without_special: plain, special_tokens: special })
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// When the tokenizer cannot represent a character and has no token for unknown ones.
    pub fn encode(
        &self,
        text: &str,
        special: AddSpecialTokens,
        spelled: ParseSpecial,
    ) -> Result<Vec<u32>> {
        let encoding = match spelled {
            ParseSpecial::Yes => self.inner.encode_fast(text, false),
            ParseSpecial::No => self.encode_as_text(text),
        };
        let add = special == AddSpecialTokens::Yes;
        let encoding = encoding.and_then(|encoding| self.inner.post_process(encoding, None, add));
        Ok(encoding.map_err(Error::from_boxed)?.get_ids().to_vec())
    }

    fn encode_as_text(&self, text: &str) -> tokenizers::Result<Encoding> {
        let pieces =
            self.added_without_special.extract_and_normalize(self.inner.get_normalizer(), text);
        self.encode_pieces(pieces, OffsetType::None)
    }

    /// The last three of the four steps of every tokenizer: normalize, split, apply the model to each piece, and put the
    /// ids together.
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

    /// The text of `ids`, with `�` where their bytes are no UTF-8; ids that are no token give nothing.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], markers: SkipSpecialTokens) -> Result<String> {
        self.inner.decode(ids, markers == SkipSpecialTokens::Yes).map_err(Error::from_boxed)
    }

    /// Whether [`Tokenizer::decode`] passes over `id`, whatever stands around it.
    pub(crate) fn is_skipped(&self, id: u32, markers: SkipSpecialTokens) -> bool {
        let special = |token: &str| self.inner.get_added_vocabulary().is_special_token(token);
        self.id_to_token(id)
            .is_none_or(|id_to_token| markers == SkipSpecialTokens::Yes && special(&id_to_token))
    }

    /// Decodes ids as they come, after those `before`: `[]` at the beginning of a text.
    pub fn stream(&self, markers: SkipSpecialTokens, before: &[u32]) -> TextStream<'_> {
        TextStream::new(self, markers, before)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the token spelled `token`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// How the vocabulary spells token `id`.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether every id is the same token to both.
    pub fn has_same_vocab(&self, other: &Self) -> bool {
        let all = 0..self.vocab_size() as u32;
        self.vocab_size() == other.vocab_size()
            && all.into_iter().all(|id| self.id_to_token(id) == other.id_to_token(id))
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.special_tokens.bos
    }

    /// The token that ends a text (in a chat model: a turn), if the model has one.
    pub fn eos(&self) -> Option<u32> {
        self.special_tokens.eos
    }

    /// The tokens with a part to play.
    pub fn special_tokens(&self) -> TokenizerSpecialTokens {
        self.special_tokens
    }

    /// All special tokens: those with a part to play, and others that the file adds.
    pub fn all_special_ids(&self) -> Vec<u32> {
        let named = self.special_tokens.by_name().into_iter().filter_map(|(_, id)| id);
        let added = self.inner.get_added_tokens_decoder().into_iter();
        let mut ids: Vec<u32> =
            named.chain(added.filter(|(_, token)| token.special).map(|(id, _)| id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The same, with rows filled up by the token `pad`.
    pub fn with_pad_token(self, pad: u32) -> Self {
        Self {
            special_tokens: TokenizerSpecialTokens { pad: Some(pad), ..self.special_tokens },
            ..self
        }
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`: the tokenizer of a model that reads `context`
    /// tokens and chats as `template` says.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(
        &self,
        folder: &Path,
        context: usize,
        template: Option<&ChatTemplate>,
    ) -> Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let json = self.inner.to_string(true).map_err(Error::from_boxed)?;
        atomic_file::write(&folder.join("tokenizer.json"), format!("{json}\n").as_bytes())?;
        tokenizer_config::save(
            folder,
            &self.special_tokens,
            |id| self.id_to_token(id),
            context,
            template,
        )
    }
}
