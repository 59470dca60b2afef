//! Data: tokens on disk, memory-mapped, so that a corpus may be larger than memory.
//!
//! The file is a safetensors file of two tensors: `tokens` (u16 if the vocabulary allows it, else
//! u32) and `document_ends` (u64, number of tokens up to and including each document's last). Its
//! header names the tokenizer and holds the SHA-256 of both tensors, so damage is detected before
//! training.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use tensor_core::MappedFile;
use tensor_core::sha256::hex;

/// Memory-mapped tokens.
#[derive(Debug)]
pub struct TokenFile {
    file: MappedFile,
    tokens: Range<usize>,
    document_ends: Range<usize>,
    /// Bytes per token.
    item_size: usize,
    vocab_size: usize,
    n_text_bytes: usize,
    sha256: String,
}

impl TokenFile {
    /// Opens the token file at `path` and checks that it belongs to the tokenizer with this
    /// SHA-256.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or belongs to another tokenizer.
    pub fn open(path: &Path, tokenizer_sha256: &str) -> Result<Self> {
        let file = MappedFile::open(path)?;
        Self::parse(file, tokenizer_sha256)
            .with_context(|| format!("{} is not a usable token file", path.display()))
    }

    fn parse(file: MappedFile, tokenizer_sha256: &str) -> Result<Self> {
        let bytes = file.bytes();
        let (header, metadata) =
            SafeTensors::read_metadata(bytes).context("the file is damaged")?;
        let tensor = |name: &str| {
            let info =
                metadata.info(name).with_context(|| format!("the tensor `{name}` is missing"))?;
            let (from, to) = info.data_offsets;
            anyhow::Ok((info.dtype, 8 + header + from..8 + header + to))
        };
        let (dtype, tokens) = tensor("tokens")?;
        let item_size = match dtype {
            Dtype::U16 => 2,
            Dtype::U32 => 4,
            other => bail!("its tokens have the dtype {other:?}; expected U16 or U32"),
        };
        let (dtype, document_ends) = tensor("document_ends")?;
        ensure!(dtype == Dtype::U64, "document_ends has the dtype {dtype:?}; expected U64");
        let entries = metadata
            .metadata()
            .as_ref()
            .context("header metadata is missing: not a token file of this program")?;
        let entry = |name: &str| {
            entries.get(name).with_context(|| format!("the metadata entry `{name}` is missing"))
        };
        let number = |name: &str| Ok::<usize, anyhow::Error>(entry(name)?.parse()?);
        let (vocab_size, n_text_bytes) = (number("vocab_size")?, number("text_bytes")?);
        ensure!(
            entry("tokenizer")? == tokenizer_sha256,
            "it was tokenized with a different tokenizer: tokenize the text again"
        );
        let hash = Sha256::new().chain_update(&bytes[tokens.clone()]);
        let sha256 = hex(hash.chain_update(&bytes[document_ends.clone()]).finalize());
        ensure!(
            sha256 == *entry("sha256")?,
            "the file is damaged (checksum mismatch): tokenize the text again"
        );
        Ok(Self { file, tokens, document_ends, item_size, vocab_size, n_text_bytes, sha256 })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.item_size
    }

    /// True if the file does not contain tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Number of documents; each ends with the tokenizer's end-of-text token.
    pub fn n_documents(&self) -> usize {
        self.document_ends.len() / 8
    }

    /// Token range of document `i`.
    ///
    /// # Errors
    /// When `i` is out of range.
    pub fn document_range(&self, i: usize) -> Result<Range<usize>> {
        let ends = &self.file.bytes()[self.document_ends.clone()];
        let (ends, _) = ends.as_chunks::<8>();
        let end = |i: usize| ends.get(i).map(|bytes| u64::from_le_bytes(*bytes) as usize);
        let start = if i == 0 { Some(0) } else { end(i - 1) };
        let range = start.zip(end(i)).map(|(start, end)| start..end);
        range
            .filter(|range| range.start <= range.end && range.end <= self.len())
            .ok_or_else(|| anyhow!("document {i} is out of range"))
    }

    /// Bytes of the original text, without end-of-text tokens.
    pub fn n_text_bytes(&self) -> usize {
        self.n_text_bytes
    }

    /// SHA-256 of the tokens and document ends.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Tokens in `range`.
    ///
    /// # Errors
    /// When the range passes the end of the file, or a token is outside the vocabulary.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u32>> {
        ensure!(
            range.end <= self.len(),
            "tokens {range:?} are out of range: there are {}",
            self.len()
        );
        let at = |i: usize| self.tokens.start + i * self.item_size;
        let bytes = &self.file.bytes()[at(range.start)..at(range.end)];
        let tokens: Vec<u32> = match self.item_size {
            2 => {
                bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect()
            }
            _ => bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
        };
        let outside = tokens.iter().find(|&&token| token as usize >= self.vocab_size);
        ensure!(outside.is_none(), "token {outside:?} is outside the vocabulary");
        Ok(tokens)
    }

    /// First `t` tokens, or all if there are fewer, as model input (1, T).
    ///
    /// # Errors
    /// When a token is outside the vocabulary.
    pub fn first_window(&self, t: usize, device: &Device) -> Result<Tensor> {
        Ok(Tensor::new(self.read(0..t.min(self.len()))?, device)?.unsqueeze(0)?)
    }
}
