//! The same tokenizer by the crate `tokenizers`, for real work: on all cores, file after file, saved as the
//! `tokenizer.json` that our models and transformers open.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};
use modern::{Special, SpecialTokens, Spelled, Tokenizer};
use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::bpe::{MIN_COUNT, SPECIAL};
use crate::text_files;

/// The threads are handed chunks of this many bytes.
const CHUNK: usize = 1 << 16;
/// The tokenizer is measured on the first bytes of the corpus.
const SAMPLE: usize = 1 << 20;
/// The sizes that a vocabulary can have: the special tokens and the bytes at least, and at most four times as many tokens
/// as any model we know of has.
const SIZES: std::ops::RangeInclusive<usize> = SPECIAL.len() + 256..=1 << 20;

/// # Errors
/// When there can be no vocabulary of this size.
pub fn check(vocab_size: usize) -> Result<()> {
    let (least, most) = (SIZES.start(), SIZES.end());
    ensure!(
        SIZES.contains(&vocab_size),
        "--vocab-size is {vocab_size}; it must be at least {least} (256 bytes and {} special tokens), at most {most}",
        SPECIAL.len()
    );
    Ok(())
}

/// Learns the merges of all `texts` until there are `vocab_size` tokens, or no pair occurs twice.
///
/// # Errors
/// When there can be no vocabulary of this size.
pub fn train<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<Tokenizer> {
    let tokenizer = trained(texts, vocab_size)?;
    let id = |name| tokenizer.token_to_id(name);
    let special =
        SpecialTokens { bos: id("<s>"), eos: id("</s>"), pad: id("<pad>"), unk: id("<unk>") };
    Tokenizer::from_json(serde_json::to_value(&tokenizer)?, special)
}

/// The same as the crate has it.
pub(crate) fn trained<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<tokenizers::Tokenizer> {
    check(vocab_size)?;
    let byte_level = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
    let special = SPECIAL.map(|name| AddedToken::from(name, true).normalized(false));
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

/// The text files that a tokenizer is trained on, known to be text.
#[derive(Debug)]
pub struct Corpus {
    files: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: usize,
    sample: String,
}

impl Corpus {
    /// A text file, or a folder with `.txt` files at any depth.
    ///
    /// # Errors
    /// When a file cannot be read or is not UTF-8, or there is no text at all.
    pub fn open(path: &Path) -> Result<Self> {
        let (mut bytes, mut sample) = (0, String::new());
        let files = text_files::find(path)?;
        for file in &files {
            let text = text_files::read(file)?;
            bytes += text.len();
            let wanted = SAMPLE.saturating_sub(sample.len());
            sample.push_str(&text[..text.floor_char_boundary(wanted)]);
        }
        ensure!(bytes > 0, "{} is empty", path.display());
        Ok(Self { files, bytes, sample })
    }

    /// Trains a tokenizer on all files; `read` is told of every chunk's bytes.
    ///
    /// # Errors
    /// As [`train`], or when a file has changed since.
    pub fn train(&self, vocab_size: usize, read: impl Fn(usize) + Sync) -> Result<Tokenizer> {
        let mut failure = None;
        let texts = self
            .files
            .iter()
            .map_while(|file| text_files::read(file).map_err(|error| failure = Some(error)).ok());
        let chunks = texts.flat_map(|text| {
            text_files::chunks(&text, CHUNK).map(str::to_string).collect::<Vec<_>>()
        });
        let tokenizer = train(chunks.inspect(|chunk| read(chunk.len())), vocab_size);
        match failure {
            Some(error) => Err(error),
            None => tokenizer,
        }
    }

    /// How many bytes of the corpus' first MiB a token stands for.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn bytes_per_token(&self, tokenizer: &Tokenizer) -> Result<f64> {
        let tokens = tokenizer.encode(&self.sample, Special::None, Spelled::Text)?.len();
        Ok(self.sample.len() as f64 / tokens as f64)
    }
}
