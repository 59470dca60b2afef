//! Data: the documents of a text file, or of a folder with `.txt` files at any depth, read again
//! from disk on every pass.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use model_io::{AddSpecialTokens, ParseSpecial, Tokenizer};

use crate::documents::{DocumentChunk, DocumentReader};

/// Bytes of the corpus, from its start, on which the compression of a tokenizer is measured.
const SAMPLE_BYTES: usize = 1 << 20;

/// Text files whose contents were checked to be UTF-8.
#[derive(Debug)]
pub struct TextCorpus {
    files: Vec<PathBuf>,
    /// Number of documents.
    pub n_documents: usize,
    /// Bytes of text in the documents.
    pub n_bytes: usize,
}

impl TextCorpus {
    /// Opens a text file, or a folder with `.txt` files at any depth, and reads it once to check
    /// it.
    ///
    /// # Errors
    /// When a file cannot be read or is not UTF-8, or all files are empty.
    pub fn open(path: &Path) -> Result<Self> {
        let mut corpus = Self { files: find_text_files(path)?, n_documents: 0, n_bytes: 0 };
        let (mut n_documents, mut n_bytes) = (0, 0);
        for chunk in corpus.chunks() {
            let chunk = chunk?;
            n_documents += usize::from(chunk.is_document_start);
            n_bytes += chunk.text.len();
        }
        ensure!(n_bytes > 0, "{} is empty", path.display());
        (corpus.n_documents, corpus.n_bytes) = (n_documents, n_bytes);
        Ok(corpus)
    }

    /// Chunks of all documents, file after file. An error ends the iteration.
    pub fn chunks(&self) -> impl Iterator<Item = Result<DocumentChunk>> {
        let mut files = self.files.iter();
        let mut current = None;
        std::iter::from_fn(move || {
            loop {
                if current.is_none() {
                    match DocumentReader::open(files.next()?) {
                        Ok(documents) => current = Some(documents),
                        Err(error) => return Some(Err(error)),
                    }
                }
                match current.as_mut()?.next_chunk().transpose() {
                    Some(chunk) => return Some(chunk),
                    None => current = None,
                }
            }
        })
    }

    /// Mean bytes per token, measured on the first MiB of the corpus.
    ///
    /// # Errors
    /// When the tokenizer fails, or a file can no longer be read.
    pub fn bytes_per_token(&self, tokenizer: &Tokenizer) -> Result<f64> {
        let (mut n_bytes, mut n_tokens) = (0, 0);
        for chunk in self.chunks() {
            let text = chunk?.text;
            n_bytes += text.len();
            n_tokens += tokenizer.encode(&text, AddSpecialTokens::No, ParseSpecial::No)?.len();
            if n_bytes >= SAMPLE_BYTES {
                break;
            }
        }
        Ok(n_bytes as f64 / n_tokens as f64)
    }
}

/// Text files at `path`: the file itself, or all `.txt` files in the folder, sorted by name.
///
/// # Errors
/// When a folder cannot be read, or does not contain `.txt` files.
pub(crate) fn find_text_files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // A pipe cannot be read twice, and the corpus is.
    let readable_twice = path.is_dir() || path.is_file() || !path.exists();
    ensure!(readable_twice, "{} is neither a file nor a folder", path.display());
    match path.is_dir() {
        false => files.push(path.to_path_buf()),
        true => add_folder(path, &mut files)?,
    }
    ensure!(!files.is_empty(), "there are no .txt files in {}", path.display());
    Ok(files)
}

/// Adds the `.txt` files of `folder`. Symbolic links to folders are not followed: they may form a
/// cycle.
fn add_folder(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let reading = || format!("reading {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(reading)?;
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>().with_context(reading)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().with_context(reading)?.is_dir() {
            add_folder(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
