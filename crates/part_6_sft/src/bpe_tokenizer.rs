//! Tokenizer for numbers: every digit is a token, and a word includes the spaces around it.
//!
//! `What is 12 - 7?` → `What ` `is ` `1` `2` ` - ` `7` `?`. A model that learns to add sees the
//! digits, which a merged token `12` would hide. Prompts are short, as words are tokens.

use anyhow::{Error, Result};
use model_io::{Tokenizer, TokenizerSpecialTokens};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// Regex of a pretoken: a template's heading with the empty line before it, a digit, a word, signs,
/// or spaces.
const PRETOKEN: &str = r"\n*### [^\n]*\n|\d| ?\p{L}+ ?| ?[^\s\p{L}\d]+ ?|\s+";
/// EOS and padding tokens.
const SPECIAL: [&str; 2] = ["</s>", "<pad>"];

/// Trains a BPE tokenizer of up to `vocab_size` tokens on `texts`.
///
/// # Errors
/// Never in practice: the pattern is fixed.
pub fn train_bpe<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<Tokenizer> {
    // No prefix space, trimmed offsets, no regex of its own.
    let bytes = ByteLevel::new(false, true, false);
    let pattern = SplitPattern::Regex(PRETOKEN.into());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    let pre_tokenizers =
        Sequence::new(vec![split.map_err(Error::from_boxed)?.into(), bytes.into()]);
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(pre_tokenizers)).with_decoder(Some(bytes));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .special_tokens(SPECIAL.map(|name| AddedToken::from(name, true).normalized(false)).to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer.train(&mut trainer, texts).map_err(Error::from_boxed)?;
    let id = |name| tokenizer.token_to_id(name);
    let special = TokenizerSpecialTokens {
        eos: id("</s>"),
        pad: id("<pad>"),
        ..TokenizerSpecialTokens::default()
    };
    Tokenizer::from_json(serde_json::to_value(&tokenizer)?, special)
}
