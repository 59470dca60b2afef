//! 4.1 Tokenizer training with the crate `tokenizers`, for large corpora: on all cores, chunk by
//! chunk. The result equals [`Bpe`](crate::Bpe) and is saved as the `tokenizer.json` that part 3
//! and transformers load.

use anyhow::{Error, Result, ensure};
use datasets::TextCorpus;
use model_io::{Tokenizer, TokenizerSpecialTokens};
use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::bpe::SPECIAL_TOKENS;
use crate::naive_bpe::MIN_COUNT;

/// Valid vocabulary sizes: at least the special tokens and the bytes, at most four times the
/// largest vocabulary in use.
const VOCAB_SIZES: std::ops::RangeInclusive<usize> = SPECIAL_TOKENS.len() + 256..=1 << 20;

/// Checks `--vocab-size`.
///
/// # Errors
/// When the vocabulary size is out of range.
pub fn ensure_valid_vocab_size(vocab_size: usize) -> Result<()> {
    let (min, max) = (VOCAB_SIZES.start(), VOCAB_SIZES.end());
    ensure!(
        VOCAB_SIZES.contains(&vocab_size),
        "--vocab-size is {vocab_size}; it must be at least {min} \
         (256 bytes and {} special tokens), at most {max}",
        SPECIAL_TOKENS.len()
    );
    Ok(())
}

/// Trains a tokenizer on all `texts` until there are `vocab_size` tokens, or no pair occurs twice.
///
/// # Errors
/// When the vocabulary size is out of range.
pub fn train_tokenizer<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<Tokenizer> {
    let tokenizer = train_hf_tokenizer(texts, vocab_size)?;
    let id = |name| tokenizer.token_to_id(name);
    let special = TokenizerSpecialTokens {
        bos: id("<s>"),
        eos: id("</s>"),
        pad: id("<pad>"),
        unk: id("<unk>"),
    };
    Tokenizer::from_json(serde_json::to_value(&tokenizer)?, special)
}

/// Trained tokenizer of the crate `tokenizers`.
pub(crate) fn train_hf_tokenizer<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<tokenizers::Tokenizer> {
    ensure_valid_vocab_size(vocab_size)?;
    let byte_level = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
    let special = SPECIAL_TOKENS.map(|name| AddedToken::from(name, true).normalized(false));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(MIN_COUNT)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer.train(&mut trainer, texts).map_err(Error::from_boxed)?;
    Ok(tokenizer)
}

/// Trains a tokenizer on the whole `corpus`. `on_bytes` is called with the size of every chunk
/// read.
///
/// # Errors
/// Those of [`train_tokenizer`], and when a file can no longer be read.
pub fn train_on_corpus(
    corpus: &TextCorpus,
    vocab_size: usize,
    on_bytes: impl Fn(usize) + Sync,
) -> Result<Tokenizer> {
    let mut failure = None;
    let texts = corpus
        .chunks()
        .map_while(|chunk| chunk.map_err(|error| failure = Some(error)).ok())
        .map(|chunk| chunk.text)
        .inspect(|text| on_bytes(text.len()));
    let tokenizer = train_tokenizer(texts, vocab_size);
    match failure {
        Some(error) => Err(error),
        None => tokenizer,
    }
}
