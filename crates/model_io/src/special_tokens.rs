//! Special tokens: those that a tokenizer names, and those that begin and end a generated text.
//!
//! The two differ: a chat model names one EOS token, but a text may end with any of several.

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

/// IDs of the tokens that begin and end a text (`generation_config.json`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokenIds {
    /// Beginning-of-text token.
    pub bos: Option<u32>,
    /// End tokens of a text or of a chat turn; any of them ends it.
    pub eos: Vec<u32>,
}
