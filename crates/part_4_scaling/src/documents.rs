//! Data: a corpus is a list of documents, read piece by piece, so that neither a file nor a document has to fit into memory.
//!
//! A file is a document, or several with `<|endoftext|>` between them. White space around a document does not count, and
//! neither does a document without text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What stands between two documents of a file.
pub const SEPARATOR: &str = "<|endoftext|>";
/// A piece has about this many bytes.
const CHUNK_BYTES: usize = 1 << 16;
/// This many are read at a time.
const READ_BYTES: usize = 1 << 20;
/// A word, or a gap, of more bytes than this is cut: merging takes time that grows with its square.
const MAX_WORD_BYTES: usize = 1 << 10;

/// A stretch of a document, cut where no token reaches across: before a space after a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentChunk {
    /// Its text, which is never empty.
    pub text: String,
    /// Whether the document begins here.
    pub is_document_start: bool,
}

/// The documents of one file.
pub struct DocumentReader<R> {
    /// `None` at the end of the file.
    reader: Option<R>,
    name: String,
    /// What has been read; from `start` on it has not been given out.
    buffer: String,
    buffer_pos: usize,
    /// The beginning of a character whose end has not been read.
    incomplete_utf8: Vec<u8>,
    bytes_read: usize,
    within_document: bool,
}

impl DocumentReader<File> {
    /// Those of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self::new(file, path.display().to_string()))
    }
}

impl<R: Read> DocumentReader<R> {
    /// Those that `reader` gives, which errors call `name`.
    pub fn new(reader: R, name: String) -> Self {
        let (text, tail, bytes_read) = (String::new(), Vec::new(), 0);
        let reader = Some(reader);
        Self {
            reader,
            name,
            buffer: text,
            buffer_pos: 0,
            incomplete_utf8: tail,
            bytes_read,
            within_document: false,
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or is not UTF-8.
    pub fn next_chunk(&mut self) -> Result<Option<DocumentChunk>> {
        loop {
            self.fill_buffer(CHUNK_BYTES + SEPARATOR.len())?;
            let rest = &self.buffer[self.buffer_pos..];
            let view = &rest[..rest.floor_char_boundary(CHUNK_BYTES + SEPARATOR.len())];
            // A separator may begin in the last bytes of the view, so no cut lies there.
            let safe = view.floor_char_boundary(view.len().saturating_sub(SEPARATOR.len()));
            let (len, end) = match view.find(SEPARATOR) {
                Some(at) => (at, Some(at + SEPARATOR.len())),
                None if self.reader.is_none() && view.len() == rest.len() => {
                    (rest.len(), Some(rest.len()))
                }
                None => (last_word_boundary(&view[..safe]).unwrap_or(safe), None),
            };
            let (len, end) = match long_word_cut(&rest[..len]) {
                Some(cut) => (cut, None),
                None => (len, end),
            };
            let mut text = &rest[..len];
            text = if end.is_some() { text.trim_end() } else { text };
            text = if self.within_document { text } else { text.trim_start() };
            let first = !self.within_document;
            let piece = (!text.is_empty())
                .then(|| DocumentChunk { text: text.to_string(), is_document_start: first });
            let at_end = rest.is_empty();
            self.buffer_pos += end.unwrap_or(len);
            self.within_document = (self.within_document || piece.is_some()) && end.is_none();
            if piece.is_some() || at_end {
                return Ok(piece);
            }
        }
    }

    /// Reads on until `wanted` bytes of text have not been given out, or the file ends.
    fn fill_buffer(&mut self, wanted: usize) -> Result<()> {
        while let (true, Some(reader)) =
            (self.buffer.len() - self.buffer_pos < wanted, &mut self.reader)
        {
            self.buffer.drain(..self.buffer_pos);
            self.buffer_pos = 0;
            let read =
                reader.by_ref().take(READ_BYTES as u64).read_to_end(&mut self.incomplete_utf8);
            let read = read.with_context(|| format!("reading {}", self.name))?;
            self.bytes_read += read;
            if read == 0 {
                self.reader = None;
            }
            let (text, cut) = match std::str::from_utf8(&self.incomplete_utf8) {
                Ok(text) => (text, None),
                Err(error) => {
                    let valid = error.valid_up_to();
                    (
                        std::str::from_utf8(&self.incomplete_utf8[..valid])?,
                        Some((valid, error.error_len())),
                    )
                }
            };
            self.buffer.push_str(text);
            let Some((valid, wrong)) = cut else {
                self.incomplete_utf8.clear();
                continue;
            };
            if wrong.is_some() || self.reader.is_none() {
                let at = self.bytes_read - self.incomplete_utf8.len() + valid;
                bail!("{} is not UTF-8: byte {at} begins no character", self.name);
            }
            self.incomplete_utf8.drain(..valid);
        }
        Ok(())
    }
}

/// Where the first word or gap that is too long is cut.
fn long_word_cut(text: &str) -> Option<usize> {
    let (mut start, mut gap) = (0, false);
    for (at, char) in text.char_indices() {
        if char.is_whitespace() != gap {
            (start, gap) = (at, !gap);
        } else if at - start >= MAX_WORD_BYTES {
            return Some(at);
        }
    }
    None
}

/// The last place before white space after a word that is followed by another.
fn last_word_boundary(text: &str) -> Option<usize> {
    let word = text.rfind(|c: char| !c.is_whitespace())?;
    let space = text[..word].rfind(char::is_whitespace)?;
    let word = text[..space].rfind(|c: char| !c.is_whitespace())?;
    Some(word + text[word..].chars().next().map_or(0, char::len_utf8))
}
