//! Data: writer of a token file, which streams tokens to disk while the text is read.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tensor_core::atomic_file;
use tensor_core::sha256::hex;

/// Bytes reserved for the header, which is written last and padded with spaces.
const HEADER_BYTES: usize = 1024;

/// Writer of a [`TokenFile`](crate::TokenFile). The file appears with [`TokenWriter::finish`].
pub struct TokenWriter {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    hasher: Sha256,
    item_size: usize,
    vocab_size: usize,
    n_tokens: usize,
    n_text_bytes: usize,
    document_ends: Vec<u64>,
}

impl TokenWriter {
    /// Writer to `path` of tokens below `vocab_size`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(path: &Path, vocab_size: usize) -> Result<Self> {
        let mut file = BufWriter::new(atomic_file::create_temp_file(path)?);
        file.write_all(&[b' '; 8 + HEADER_BYTES])
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            hasher: Sha256::new(),
            item_size: if vocab_size <= 1 << 16 { 2 } else { 4 },
            vocab_size,
            n_tokens: 0,
            n_text_bytes: 0,
            document_ends: Vec::new(),
        })
    }

    /// Appends `tokens`, which encode `n_text_bytes` bytes of text.
    ///
    /// # Errors
    /// When a token is not below `vocab_size`, or the file cannot be written.
    pub fn push(&mut self, tokens: &[u32], n_text_bytes: usize) -> Result<()> {
        let outside = tokens.iter().find(|&&token| token as usize >= self.vocab_size);
        if let Some(token) = outside {
            bail!("token {token} is outside the vocabulary of {}", self.vocab_size);
        }
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| token.to_le_bytes().into_iter().take(self.item_size))
            .collect();
        self.hasher.update(&bytes);
        self.file.write_all(&bytes).with_context(|| format!("writing {}", self.path.display()))?;
        self.n_tokens += tokens.len();
        self.n_text_bytes += n_text_bytes;
        Ok(())
    }

    /// Ends the current document with the token `eos`.
    ///
    /// # Errors
    /// Those of [`TokenWriter::push`].
    pub fn end_document(&mut self, eos: u32) -> Result<()> {
        self.push(&[eos], 0)?;
        self.document_ends.push(self.n_tokens as u64);
        Ok(())
    }

    /// Writes the document ends and the header, and moves the finished file to its path.
    /// `tokenizer_sha256` identifies the tokenizer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self, tokenizer_sha256: &str) -> Result<()> {
        let writing = format!("writing {}", self.path.display());
        let document_ends: Vec<u8> =
            self.document_ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        self.hasher.update(&document_ends);
        let end_of_tokens = self.n_tokens * self.item_size;
        let start_of_ends = end_of_tokens.next_multiple_of(8); // u64 values must be aligned
        let padding = start_of_ends - end_of_tokens;
        let header = json!({
            "__metadata__": {
                "vocab_size": self.vocab_size.to_string(),
                "text_bytes": self.n_text_bytes.to_string(),
                "tokenizer": tokenizer_sha256,
                "sha256": hex(self.hasher.finalize()),
            },
            "tokens": {
                "dtype": format!("U{}", 8 * self.item_size),
                "shape": [self.n_tokens],
                "data_offsets": [0, end_of_tokens],
            },
            "padding": {
                "dtype": "U8",
                "shape": [padding],
                "data_offsets": [end_of_tokens, start_of_ends],
            },
            "document_ends": {
                "dtype": "U64",
                "shape": [self.document_ends.len()],
                "data_offsets": [start_of_ends, start_of_ends + document_ends.len()],
            },
        });
        let header = format!("{:HEADER_BYTES$}", header.to_string());
        ensure!(header.len() == HEADER_BYTES, "{writing}: the header is too long");
        self.file.write_all(&[0; 8][..padding]).context(writing.clone())?;
        self.file.write_all(&document_ends).context(writing.clone())?;
        self.file.seek(SeekFrom::Start(0)).context(writing.clone())?;
        self.file.write_all(&(HEADER_BYTES as u64).to_le_bytes()).context(writing.clone())?;
        self.file.write_all(header.as_bytes()).context(writing.clone())?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let file = file.context(writing)?;
        atomic_file::persist(file, &self.path)
    }
}
