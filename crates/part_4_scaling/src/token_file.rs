//! Data: tokens on disk, looked at through the file system's memory, so that a corpus may be larger than ours.
//!
//! The file is a safetensors file of two tensors: `tokens` (u16 where the vocabulary allows it, else u32) and
//! `document_ends` (u64, the number of tokens up to and with each document's end). Its header says with which tokenizer
//! it was made and carries the SHA-256 of both, so that a damaged file is noticed before anything learns from it.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use tensor_core::MappedFile;

use crate::sha256::hex;

/// Tokens that lie on disk.
#[derive(Debug)]
pub struct TokenFile {
    file: MappedFile,
    tokens: Range<usize>,
    document_ends: Range<usize>,
    /// Bytes per token.
    item_size: usize,
    metadata: TokenFileMetadata,
}

/// What the header says.
#[derive(Debug, Clone)]
struct TokenFileMetadata {
    vocab_size: usize,
    n_text_bytes: usize,
    sha256: String,
}

impl TokenFile {
    /// Opens the file at `path`, which must have been made with the tokenizer of this fingerprint.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or belongs to another tokenizer.
    pub fn open(path: &Path, tokenizer: &str) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let whole = Self::parse(file, tokenizer);
        whole.with_context(|| format!("{} is no file of tokens for this run", path.display()))
    }

    fn parse(file: MappedFile, tokenizer: &str) -> Result<Self> {
        let bytes = file.bytes();
        let (header, metadata) = SafeTensors::read_metadata(bytes).context("it is damaged")?;
        let tensor = |name: &str| {
            let info = metadata.info(name).with_context(|| format!("it has no `{name}`"))?;
            let (from, to) = info.data_offsets;
            anyhow::Ok((info.dtype, 8 + header + from..8 + header + to))
        };
        let (dtype, tokens) = tensor("tokens")?;
        let width = match dtype {
            Dtype::U16 => 2,
            Dtype::U32 => 4,
            other => bail!("its tokens are {other:?}"),
        };
        let (dtype, ends) = tensor("document_ends")?;
        ensure!(dtype == Dtype::U64, "its document ends are {dtype:?}");
        let words = metadata.metadata().as_ref().context("it does not say what it is")?;
        let word = |name: &str| words.get(name).with_context(|| format!("it lacks its {name}"));
        let number = |name: &str| Ok::<usize, anyhow::Error>(word(name)?.parse()?);
        let about = TokenFileMetadata {
            vocab_size: number("vocab_size")?,
            n_text_bytes: number("text_bytes")?,
            sha256: word("sha256")?.clone(),
        };
        ensure!(
            word("tokenizer")? == tokenizer,
            "its tokens are another tokenizer's: make it anew"
        );
        let hash = Sha256::new().chain_update(&bytes[tokens.clone()]);
        let found = hex(hash.chain_update(&bytes[ends.clone()]).finalize());
        ensure!(found == about.sha256, "it is damaged: its checksum does not fit. Make it anew");
        Ok(Self { file, tokens, document_ends: ends, item_size: width, metadata: about })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.item_size
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many documents there are; each ends with the tokenizer's end of text.
    pub fn n_documents(&self) -> usize {
        self.document_ends.len() / 8
    }

    /// Where document `i` lies.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn document_range(&self, i: usize) -> Result<Range<usize>> {
        let ends = &self.file.bytes()[self.document_ends.clone()];
        let (ends, _) = ends.as_chunks::<8>();
        let end = |i: usize| ends.get(i).map(|bytes| u64::from_le_bytes(*bytes) as usize);
        let start = if i == 0 { Some(0) } else { end(i - 1) };
        let range = start.zip(end(i)).map(|(start, end)| start..end);
        range
            .filter(|range| range.end <= self.len())
            .ok_or_else(|| anyhow!("there is no document {i}"))
    }

    /// Bytes of text that the tokens stand for, ends of text not counted.
    pub fn n_text_bytes(&self) -> usize {
        self.metadata.n_text_bytes
    }

    /// A name that no other tokens have.
    pub fn sha256(&self) -> &str {
        &self.metadata.sha256
    }

    /// The tokens in `range`.
    ///
    /// # Errors
    /// When it passes the end, or a token lies outside the vocabulary.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u32>> {
        ensure!(range.end <= self.len(), "tokens {range:?} of {}", self.len());
        let at = |i: usize| self.tokens.start + i * self.item_size;
        let bytes = &self.file.bytes()[at(range.start)..at(range.end)];
        let tokens: Vec<u32> = match self.item_size {
            2 => bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two).into()).collect(),
            _ => bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect(),
        };
        let outside = tokens.iter().find(|&&token| token as usize >= self.metadata.vocab_size);
        ensure!(outside.is_none(), "token {outside:?} lies outside the vocabulary");
        Ok(tokens)
    }

    /// The first `t` tokens, or fewer if there are no more, as a text to read: (1, T).
    ///
    /// # Errors
    /// When they are damaged.
    pub fn first_window(&self, t: usize, device: &Device) -> Result<Tensor> {
        Ok(Tensor::new(self.read(0..t.min(self.len()))?, device)?.unsqueeze(0)?)
    }
}
