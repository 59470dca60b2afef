//! Data: all documents of a file or a folder, which are read anew whenever they are needed.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use modern::{AddSpecialTokens, ParseSpecial, Tokenizer};

use crate::documents::{DocumentChunk, DocumentReader};
use crate::{text_files, tokenizer_training};

/// A tokenizer is measured on the first bytes of the corpus.
const SAMPLE_BYTES: usize = 1 << 20;

/// Text files, known to be text.
#[derive(Debug)]
pub struct Corpus {
    files: Vec<PathBuf>,
    /// How many documents they hold.
    pub n_documents: usize,
    /// Bytes of text in these.
    pub n_bytes: usize,
}

impl Corpus {
    /// A text file, or a folder with `.txt` files at any depth.
    ///
    /// # Errors
    /// When a file cannot be read or is not UTF-8, or there is no text at all.
    pub fn open(path: &Path) -> Result<Self> {
        let mut corpus =
            Self { files: text_files::find_text_files(path)?, n_documents: 0, n_bytes: 0 };
        let (mut documents, mut bytes) = (0, 0);
        for piece in corpus.chunks() {
            let piece = piece?;
            documents += usize::from(piece.is_document_start);
            bytes += piece.text.len();
        }
        ensure!(bytes > 0, "{} is empty", path.display());
        (corpus.n_documents, corpus.n_bytes) = (documents, bytes);
        Ok(corpus)
    }

    /// The documents in pieces, file after file. Nothing follows an error.
    pub fn chunks(&self) -> impl Iterator<Item = Result<DocumentChunk>> {
        let mut files = self.files.iter();
        let mut open = None;
        std::iter::from_fn(move || {
            loop {
                if open.is_none() {
                    match DocumentReader::open(files.next()?) {
                        Ok(documents) => open = Some(documents),
                        Err(error) => return Some(Err(error)),
                    }
                }
                match open.as_mut()?.next_chunk().transpose() {
                    Some(piece) => return Some(piece),
                    None => open = None,
                }
            }
        })
    }

    /// Trains a tokenizer on all of it; `read` is told of every piece's bytes.
    ///
    /// # Errors
    /// As [`tokenizer_training::train`], or when a file has changed since.
    pub fn train_tokenizer(
        &self,
        vocab_size: usize,
        read: impl Fn(usize) + Sync,
    ) -> Result<Tokenizer> {
        let mut failure = None;
        let texts = self
            .chunks()
            .map_while(|piece| piece.map_err(|error| failure = Some(error)).ok())
            .map(|piece| piece.text)
            .inspect(|text| read(text.len()));
        let tokenizer = tokenizer_training::train_tokenizer(texts, vocab_size);
        match failure {
            Some(error) => Err(error),
            None => tokenizer,
        }
    }

    /// How many bytes of the corpus' first MiB a token stands for.
    ///
    /// # Errors
    /// When the tokenizer fails, or a file has changed since.
    pub fn bytes_per_token(&self, tokenizer: &Tokenizer) -> Result<f64> {
        let (mut bytes, mut tokens) = (0, 0);
        for piece in self.chunks() {
            let text = piece?.text;
            bytes += text.len();
            tokens += tokenizer.encode(&text, AddSpecialTokens::No, ParseSpecial::No)?.len();
            if bytes >= SAMPLE_BYTES {
                break;
            }
        }
        Ok(bytes as f64 / tokens as f64)
    }
}
