//! Data: a corpus becomes a folder of tokens, once: `tokenizer.json`, and a [`TokenFile`] each for training and validation.
//!
//! Whole documents are held out, drawn by the seed: the two halves of a story resemble each other too much to measure one on
//! the other.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use modern::{AddSpecialTokens, ParseSpecial, Tokenizer};
use tensor_core::Rng;

use crate::documents::{DocumentChunk, SEPARATOR};
use crate::{Corpus, TokenFile, TokenWriter, sha256};

const TRAIN_FILE: &str = "train.safetensors";
const VALIDATION_FILE: &str = "validation.safetensors";
/// Pieces that a thread takes at a time.
const CHUNKS_PER_THREAD: usize = 16;

/// Text as tokens, in two parts.
#[derive(Debug)]
pub struct Dataset {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// To learn from.
    pub train: TokenFile,
    /// To measure on.
    pub validation: TokenFile,
}

/// Which documents are held out.
#[derive(Debug, Clone, Copy)]
pub struct ValidationSplit {
    /// Their share, at least one document.
    pub fraction: f64,
    /// Decides which.
    pub seed: u64,
}

impl Dataset {
    /// Whether `path` is a folder that [`tokenize`] wrote.
    pub fn exists_at(path: &Path) -> bool {
        path.join(TRAIN_FILE).exists()
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, or was made with another tokenizer than the folder's.
    pub fn open(folder: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::open(folder)?;
        let fingerprint = sha256::hash_file(&folder.join("tokenizer.json"))?;
        let open = |name: &str| TokenFile::open(&folder.join(name), &fingerprint);
        Ok(Self { tokenizer, train: open(TRAIN_FILE)?, validation: open(VALIDATION_FILE)? })
    }

    /// Names these tokens and this tokenizer, and no others.
    pub fn sha256(&self) -> String {
        sha256::hash_bytes([self.train.sha256(), self.validation.sha256()].concat().as_bytes())
    }
}

/// Writes `corpus` as tokens into `folder`; `done` is told of bytes as they are.
///
/// # Errors
/// When there is a single document, the tokenizer has no token that ends a text, or the folder cannot be written.
pub fn tokenize(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    split: ValidationSplit,
    folder: &Path,
    mut done: impl FnMut(usize),
) -> Result<()> {
    let eos = eos_token_id(tokenizer)?;
    let held_out = split.validation_mask(corpus.n_documents)?;
    tokenizer.save(folder, usize::MAX, None)?;
    let fingerprint = sha256::hash_file(&folder.join("tokenizer.json"))?;
    let writer = |name: &str| TokenWriter::new(&folder.join(name), tokenizer.vocab_size());
    let mut writers = [writer(TRAIN_FILE)?, writer(VALIDATION_FILE)?];
    // More documents than there were: a file has grown.
    let part = |document: usize| usize::from(held_out.get(document) == Some(&true));
    write_documents(corpus, tokenizer, eos, &mut writers, part, &mut done)?;
    // Training comes last, as a folder that has it is a whole one.
    let [train, validation] = writers;
    validation.finish(&fingerprint)?;
    train.finish(&fingerprint)
}

/// All of `corpus` as tokens, to be measured on; they last as long as the folder.
///
/// # Errors
/// As [`tokenize`].
pub fn tokenize_for_eval(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<TokenFile> {
    let eos = eos_token_id(tokenizer)?;
    let path = folder.join(VALIDATION_FILE);
    let mut writers = [TokenWriter::new(&path, tokenizer.vocab_size())?];
    write_documents(corpus, tokenizer, eos, &mut writers, |_| 0, &mut |_| {})?;
    let [writer] = writers;
    writer.finish("")?;
    TokenFile::open(&path, "")
}

fn eos_token_id(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.eos().context("the tokenizer has no token that ends a text")
}

/// Writes each document to the writer of its `part`, with the token that ends it.
fn write_documents(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    eos: u32,
    writers: &mut [TokenWriter],
    part: impl Fn(usize) -> usize,
    done: &mut impl FnMut(usize),
) -> Result<()> {
    let mut document: Option<usize> = None;
    let threads = candle_core::utils::get_num_threads();
    let end = |document: Option<usize>, writers: &mut [TokenWriter]| match document {
        Some(document) => writers[part(document)].end_document(eos),
        None => Ok(()),
    };
    let mut pieces = corpus.chunks();
    loop {
        let batch: Vec<DocumentChunk> =
            pieces.by_ref().take(threads * CHUNKS_PER_THREAD).collect::<Result<_>>()?;
        if batch.is_empty() {
            return end(document, writers);
        }
        for (piece, tokens) in batch.iter().zip(encode_in_parallel(&batch, tokenizer)?) {
            if piece.is_document_start {
                end(document, writers)?;
                document = Some(document.map_or(0, |before| before + 1));
            }
            writers[part(document.unwrap_or(0))].push(&tokens, piece.text.len())?;
            done(piece.text.len());
        }
    }
}

impl ValidationSplit {
    /// # Errors
    /// When so few documents cannot be split.
    pub fn ensure_splittable(&self, documents: usize) -> Result<()> {
        ensure!(
            documents > 1,
            "the text is a single document, and one must be held out: give a folder of several files, or put \
             {SEPARATOR} between the documents of a file"
        );
        Ok(())
    }

    /// For each of `documents`, whether it is for validation.
    fn validation_mask(&self, documents: usize) -> Result<Vec<bool>> {
        self.ensure_splittable(documents)?;
        let n = ((documents as f64 * self.fraction).round() as usize).clamp(1, documents - 1);
        let mut held_out = vec![false; documents];
        held_out[..n].fill(true);
        Rng::new(self.seed).shuffle(&mut held_out);
        Ok(held_out)
    }
}

/// The tokens of each piece, by all threads.
fn encode_in_parallel(pieces: &[DocumentChunk], tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let encode = |piece: &DocumentChunk| {
        tokenizer.encode(&piece.text, AddSpecialTokens::No, ParseSpecial::No)
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = pieces
            .chunks(CHUNKS_PER_THREAD)
            .map(|part| scope.spawn(move || part.iter().map(encode).collect::<Result<Vec<_>>>()))
            .collect();
        let mut all = Vec::with_capacity(pieces.len());
        for part in parts {
            let part =
                part.join().map_err(|_| anyhow::anyhow!("a thread that tokenized panicked"))?;
            all.extend(part?);
        }
        Ok(all)
    })
}
