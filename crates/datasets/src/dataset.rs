//! Data: a corpus is tokenized once into a folder: `tokenizer.json`, and one [`TokenFile`] each for
//! training and validation.
//!
//! Whole documents are held out at random: two halves of a story are too similar for one to
//! validate the other. A single document is split by place: its last part is the validation text.

use std::path::Path;

use anyhow::{Context, Result};
use model_io::{AddSpecialTokens, ParseSpecial, Tokenizer};
use tensor_core::{Rng, sha256};

use crate::documents::{DocumentChunk, split_document};
use crate::{TextCorpus, TokenFile, TokenWriter};

const TRAIN_FILE: &str = "train.safetensors";
const VALIDATION_FILE: &str = "validation.safetensors";
/// Chunks that a thread encodes at a time.
const CHUNKS_PER_THREAD: usize = 16;

/// Tokenized text, split into training and validation documents.
#[derive(Debug)]
pub struct Dataset {
    /// Tokenizer of the tokens.
    pub tokenizer: Tokenizer,
    /// Training tokens.
    pub train: TokenFile,
    /// Validation tokens.
    pub validation: TokenFile,
}

/// Split of a text into training and validation: random documents, or the last part of a single
/// document.
#[derive(Debug, Clone, Copy)]
pub struct ValidationSplit {
    /// Fraction of the documents held out, at least one document; of a single document, fraction
    /// of its bytes.
    pub fraction: f64,
    /// Seed of the random documents.
    pub seed: u64,
}

impl Dataset {
    /// True if `path` is a folder that [`tokenize`] wrote.
    pub fn exists_at(path: &Path) -> bool {
        path.join(TRAIN_FILE).exists()
    }

    /// Opens a folder that [`tokenize`] wrote.
    ///
    /// # Errors
    /// When a file is missing or damaged, or was tokenized with another tokenizer than the
    /// folder's.
    pub fn open(folder: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::open(folder)?;
        let tokenizer_sha256 = sha256::hash_file(&folder.join("tokenizer.json"))?;
        let open = |name: &str| TokenFile::open(&folder.join(name), &tokenizer_sha256);
        Ok(Self { tokenizer, train: open(TRAIN_FILE)?, validation: open(VALIDATION_FILE)? })
    }

    /// SHA-256 that identifies these tokens and their tokenizer.
    pub fn sha256(&self) -> String {
        sha256::hash_bytes([self.train.sha256(), self.validation.sha256()].concat().as_bytes())
    }
}

/// Tokenizes `corpus` into `folder`. `on_bytes` is called with the number of bytes of each chunk
/// done.
///
/// # Errors
/// When the tokenizer has no end-of-text token, or the folder cannot be written.
pub fn tokenize(
    corpus: &TextCorpus,
    tokenizer: &Tokenizer,
    split: ValidationSplit,
    folder: &Path,
    mut on_bytes: impl FnMut(usize),
) -> Result<()> {
    let eos = eos_token_id(tokenizer)?;
    let validation_mask = split.validation_mask(corpus.n_documents);
    tokenizer.save(folder, usize::MAX, None)?;
    let tokenizer_sha256 = sha256::hash_file(&folder.join("tokenizer.json"))?;
    let writer = |name: &str| TokenWriter::new(&folder.join(name), tokenizer.vocab_size());
    let mut writers = [writer(TRAIN_FILE)?, writer(VALIDATION_FILE)?];
    // `get`: there are more documents than before if a file has grown since.
    let writer_of = |document: usize| usize::from(validation_mask.get(document) == Some(&true));
    let n_training_bytes = match corpus.n_documents {
        1 => split.n_training_bytes(corpus.n_bytes),
        _ => usize::MAX, // splits no document
    };
    let chunks = split_document(corpus.chunks(), n_training_bytes);
    write_documents(chunks, tokenizer, eos, &mut writers, writer_of, &mut on_bytes)?;
    // Training tokens are written last: their file marks the folder as complete (`exists_at`).
    let [train, validation] = writers;
    validation.finish(&tokenizer_sha256)?;
    train.finish(&tokenizer_sha256)
}

/// Tokens of the whole `corpus` for an evaluation; they are valid as long as `folder` exists.
///
/// # Errors
/// When the tokenizer has no end-of-text token, or the folder cannot be written.
pub fn tokenize_for_eval(
    corpus: &TextCorpus,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<TokenFile> {
    let eos = eos_token_id(tokenizer)?;
    let path = folder.join(VALIDATION_FILE);
    let mut writers = [TokenWriter::new(&path, tokenizer.vocab_size())?];
    write_documents(corpus.chunks(), tokenizer, eos, &mut writers, |_| 0, &mut |_| {})?;
    let [writer] = writers;
    writer.finish("")?;
    TokenFile::open(&path, "")
}

fn eos_token_id(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.eos().context("the tokenizer has no end-of-text token")
}

/// Writes each document of `chunks`, followed by the token `eos`, to the writer with index
/// `writer_of(document)`.
fn write_documents(
    mut chunks: impl Iterator<Item = Result<DocumentChunk>>,
    tokenizer: &Tokenizer,
    eos: u32,
    writers: &mut [TokenWriter],
    writer_of: impl Fn(usize) -> usize,
    on_bytes: &mut impl FnMut(usize),
) -> Result<()> {
    let mut document: Option<usize> = None;
    let n_threads = candle_core::utils::get_num_threads();
    let end_document = |document: Option<usize>, writers: &mut [TokenWriter]| match document {
        Some(document) => writers[writer_of(document)].end_document(eos),
        None => Ok(()),
    };
    loop {
        let batch: Vec<DocumentChunk> =
            chunks.by_ref().take(n_threads * CHUNKS_PER_THREAD).collect::<Result<_>>()?;
        if batch.is_empty() {
            return end_document(document, writers);
        }
        for (chunk, tokens) in batch.iter().zip(encode_in_parallel(&batch, tokenizer)?) {
            if chunk.is_document_start {
                end_document(document, writers)?;
                document = Some(document.map_or(0, |previous| previous + 1));
            }
            writers[writer_of(document.unwrap_or(0))].push(&tokens, chunk.text.len())?;
            on_bytes(chunk.text.len());
        }
    }
}

impl ValidationSplit {
    /// Mask over `n_documents` documents, or the two parts of one: true for validation.
    fn validation_mask(&self, n_documents: usize) -> Vec<bool> {
        if n_documents == 1 {
            return vec![false, true];
        }
        let n_validation = (n_documents as f64 * self.fraction).round() as usize;
        let mut mask = vec![false; n_documents];
        mask[..n_validation.clamp(1, n_documents - 1)].fill(true);
        Rng::new(self.seed).shuffle(&mut mask);
        mask
    }

    /// Bytes of training text in a single document of `n_bytes`.
    fn n_training_bytes(&self, n_bytes: usize) -> usize {
        ((1. - self.fraction) * n_bytes as f64).round().min(n_bytes as f64 - 1.) as usize
    }
}

/// Tokens of each chunk, encoded by all threads.
fn encode_in_parallel(chunks: &[DocumentChunk], tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let encode = |chunk: &DocumentChunk| {
        tokenizer.encode(&chunk.text, AddSpecialTokens::No, ParseSpecial::No)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = chunks
            .chunks(CHUNKS_PER_THREAD)
            .map(|share| scope.spawn(move || share.iter().map(encode).collect::<Result<Vec<_>>>()))
            .collect();
        let mut encoded = Vec::with_capacity(chunks.len());
        for thread in threads {
            let share =
                thread.join().map_err(|_| anyhow::anyhow!("a tokenizer thread panicked"))?;
            encoded.extend(share?);
        }
        Ok(encoded)
    })
}
