//! Data: tokens on disk, looked at through the file system's memory, so that a corpus may be larger than ours.
//!
//! The file is a safetensors file of two tensors: `tokens` (u16 where the vocabulary allows it, else u32) and
//! `document_ends` (u64, the number of tokens up to and with each document's end). Its header says with which tokenizer
//! it was made and carries the SHA-256 of both, so that a damaged file is noticed before anything learns from it.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tensor_core::{MappedFile, atomic_file};

use crate::fingerprint::hex;

/// Room for the header, which is known last; JSON may end in spaces.
const HEADER: usize = 1024;

/// Tokens that lie on disk.
#[derive(Debug)]
pub struct TokenFile {
    file: MappedFile,
    tokens: Range<usize>,
    ends: Range<usize>,
    /// Bytes per token.
    width: usize,
    about: About,
}

/// What the header says.
#[derive(Debug, Clone)]
struct About {
    vocab_size: usize,
    text_bytes: usize,
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
        let about = About {
            vocab_size: number("vocab_size")?,
            text_bytes: number("text_bytes")?,
            sha256: word("sha256")?.clone(),
        };
        ensure!(
            word("tokenizer")? == tokenizer,
            "its tokens are another tokenizer's: make it anew"
        );
        let hash = Sha256::new().chain_update(&bytes[tokens.clone()]);
        let found = hex(hash.chain_update(&bytes[ends.clone()]).finalize());
        ensure!(found == about.sha256, "it is damaged: its checksum does not fit. Make it anew");
        Ok(Self { file, tokens, ends, width, about })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many documents there are; each ends with the tokenizer's end of text.
    pub fn documents(&self) -> usize {
        self.ends.len() / 8
    }

    /// Where document `i` lies.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn document(&self, i: usize) -> Result<Range<usize>> {
        let ends = &self.file.bytes()[self.ends.clone()];
        let (ends, _) = ends.as_chunks::<8>();
        let end = |i: usize| ends.get(i).map(|bytes| u64::from_le_bytes(*bytes) as usize);
        let start = if i == 0 { Some(0) } else { end(i - 1) };
        let range = start.zip(end(i)).map(|(start, end)| start..end);
        range
            .filter(|range| range.end <= self.len())
            .ok_or_else(|| anyhow!("there is no document {i}"))
    }

    /// Bytes of text that the tokens stand for, ends of text not counted.
    pub fn text_bytes(&self) -> usize {
        self.about.text_bytes
    }

    /// A name that no other tokens have.
    pub fn sha256(&self) -> &str {
        &self.about.sha256
    }

    /// The tokens in `range`.
    ///
    /// # Errors
    /// When it passes the end, or a token lies outside the vocabulary.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u32>> {
        ensure!(range.end <= self.len(), "tokens {range:?} of {}", self.len());
        let at = |i: usize| self.tokens.start + i * self.width;
        let bytes = &self.file.bytes()[at(range.start)..at(range.end)];
        let tokens: Vec<u32> = match self.width {
            2 => bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two).into()).collect(),
            _ => bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect(),
        };
        let outside = tokens.iter().find(|&&token| token as usize >= self.about.vocab_size);
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

/// Writes a [`TokenFile`] from the first token to the last; before [`TokenWriter::finish`] there is no file.
pub struct TokenWriter {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    hash: Sha256,
    width: usize,
    vocab_size: usize,
    tokens: usize,
    text_bytes: usize,
    ends: Vec<u64>,
}

impl TokenWriter {
    /// A writer to `path` of tokens below `vocab_size`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(path: &Path, vocab_size: usize) -> Result<Self> {
        let mut file = BufWriter::new(atomic_file::beside(path)?);
        file.write_all(&[b' '; 8 + HEADER])
            .with_context(|| format!("writing {}", path.display()))?;
        let width = if vocab_size <= 1 << 16 { 2 } else { 4 };
        let (path, hash, ends) = (path.to_path_buf(), Sha256::new(), Vec::new());
        Ok(Self { path, file, hash, width, vocab_size, tokens: 0, text_bytes: 0, ends })
    }

    /// Appends `tokens`, which stand for `text_bytes` bytes of text.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn push(&mut self, tokens: &[u32], text_bytes: usize) -> Result<()> {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| token.to_le_bytes().into_iter().take(self.width))
            .collect();
        self.hash.update(&bytes);
        self.file.write_all(&bytes).with_context(|| format!("writing {}", self.path.display()))?;
        self.tokens += tokens.len();
        self.text_bytes += text_bytes;
        Ok(())
    }

    /// Ends the document with the token that says so.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn end_document(&mut self, eos: u32) -> Result<()> {
        self.push(&[eos], 0)?;
        self.ends.push(self.tokens as u64);
        Ok(())
    }

    /// Writes what is known only now, and puts the file in its place.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(mut self, tokenizer: &str) -> Result<()> {
        let writing = format!("writing {}", self.path.display());
        let document_ends: Vec<u8> = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        self.hash.update(&document_ends);
        let tokens = self.tokens * self.width;
        let padding = tokens.next_multiple_of(8) - tokens; // so that the ends lie where numbers of 8 bytes may
        let ends = tokens + padding;
        let header = json!({
            "__metadata__": {
                "vocab_size": self.vocab_size.to_string(),
                "text_bytes": self.text_bytes.to_string(),
                "tokenizer": tokenizer,
                "sha256": hex(self.hash.finalize()),
            },
            "tokens": { "dtype": format!("U{}", 8 * self.width), "shape": [self.tokens], "data_offsets": [0, tokens] },
            "padding": { "dtype": "U8", "shape": [padding], "data_offsets": [tokens, ends] },
            "document_ends": {
                "dtype": "U64", "shape": [self.ends.len()], "data_offsets": [ends, ends + document_ends.len()],
            },
        });
        let header = format!("{:HEADER$}", header.to_string());
        ensure!(header.len() == HEADER, "{writing}: the header is too long");
        self.file.write_all(&[0; 8][..padding]).context(writing.clone())?;
        self.file.write_all(&document_ends).context(writing.clone())?;
        self.file.seek(SeekFrom::Start(0)).context(writing.clone())?;
        self.file.write_all(&(HEADER as u64).to_le_bytes()).context(writing.clone())?;
        self.file.write_all(header.as_bytes()).context(writing.clone())?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let file = file.context(writing)?;
        atomic_file::persist(file, &self.path)
    }
}
