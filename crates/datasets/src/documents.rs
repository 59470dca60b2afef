//! Data: documents of a text file, read in chunks, so that neither a file nor a document has to fit
//! in memory.
//!
//! A file is one document, or several with `<|endoftext|>` between them. White space around a
//! document is dropped, and so are documents without text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tensor_core::regular_file;

/// Separator between two documents of a file.
pub const SEPARATOR: &str = "<|endoftext|>";
/// Approximate size of a chunk in bytes.
const CHUNK_BYTES: usize = 1 << 16;
/// Bytes read from the file at a time.
const READ_BYTES: usize = 1 << 20;
/// Maximum length of a word or of white space; longer ones are cut, because the time of BPE merging
/// grows with the square of the length.
const MAX_WORD_BYTES: usize = 1 << 10;

/// Part of a document, cut where no token can cross: before the space after a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentChunk {
    /// Text of the chunk, never empty.
    pub text: String,
    /// True for the first chunk of a document.
    pub is_document_start: bool,
}

/// Reader of the documents of one file.
pub struct DocumentReader<R> {
    /// `None` at the end of the file.
    reader: Option<R>,
    name: String,
    /// Text that was read; the part from `buffer_pos` on has not been returned yet.
    buffer: String,
    buffer_pos: usize,
    /// First bytes of a character whose other bytes have not been read.
    incomplete_utf8: Vec<u8>,
    bytes_read: usize,
    within_document: bool,
}

impl DocumentReader<File> {
    /// Reader of the documents of the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = regular_file::open(path)?.file;
        Ok(Self::new(file, path.display().to_string()))
    }
}

impl<R: Read> DocumentReader<R> {
    /// Reader of the documents in `reader`; error messages call it `name`.
    pub fn new(reader: R, name: String) -> Self {
        Self {
            reader: Some(reader),
            name,
            buffer: String::new(),
            buffer_pos: 0,
            incomplete_utf8: Vec::new(),
            bytes_read: 0,
            within_document: false,
        }
    }

    /// Next chunk; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not UTF-8.
    pub fn next_chunk(&mut self) -> Result<Option<DocumentChunk>> {
        loop {
            self.fill_buffer(CHUNK_BYTES + SEPARATOR.len())?;
            let rest = &self.buffer[self.buffer_pos..];
            let ChunkEnd { len, document_end } = chunk_end(rest, self.reader.is_none());
            let mut text = &rest[..len];
            text = if document_end.is_some() { text.trim_end() } else { text };
            text = if self.within_document { text } else { text.trim_start() };
            let is_document_start = !self.within_document;
            let chunk = (!text.is_empty())
                .then(|| DocumentChunk { text: text.to_string(), is_document_start });
            let at_end = rest.is_empty();
            self.buffer_pos += document_end.unwrap_or(len);
            self.within_document =
                (self.within_document || chunk.is_some()) && document_end.is_none();
            if chunk.is_some() || at_end {
                return Ok(chunk);
            }
        }
    }

    /// Reads until the buffer holds `n_bytes` bytes that were not returned yet, or the file ends.
    fn fill_buffer(&mut self, n_bytes: usize) -> Result<()> {
        while let (true, Some(reader)) =
            (self.buffer.len() - self.buffer_pos < n_bytes, &mut self.reader)
        {
            self.buffer.drain(..self.buffer_pos);
            self.buffer_pos = 0;
            let n_read =
                reader.by_ref().take(READ_BYTES as u64).read_to_end(&mut self.incomplete_utf8);
            let n_read = n_read.with_context(|| format!("reading {}", self.name))?;
            self.bytes_read += n_read;
            if n_read == 0 {
                self.reader = None;
            }
            let error = std::str::from_utf8(&self.incomplete_utf8).err();
            let valid = error.map_or(self.incomplete_utf8.len(), |error| error.valid_up_to());
            self.buffer.push_str(std::str::from_utf8(&self.incomplete_utf8[..valid])?);
            // Without an `error_len`, the bytes end within a character, and more may follow.
            if error.is_some_and(|e| e.error_len().is_some() || self.reader.is_none()) {
                let at = self.bytes_read - self.incomplete_utf8.len() + valid;
                bail!("{} is not UTF-8: invalid byte at {at}", self.name);
            }
            self.incomplete_utf8.drain(..valid);
        }
        Ok(())
    }
}

/// Pieces of `text` of about 64 KiB, cut where no token can cross: before the space after a word.
pub fn text_pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let view = &rest[..rest.floor_char_boundary(CHUNK_BYTES)];
        let end = match view.len() == rest.len() {
            true => view.len(),
            false => last_word_boundary(view).unwrap_or(view.len()),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The chunks of a single document as those of two: the first has about `n_bytes` bytes and ends
/// where no token can cross, before the space after a word (within a word that fills its chunk).
pub(crate) fn split_document(
    chunks: impl Iterator<Item = Result<DocumentChunk>>,
    n_bytes: usize,
) -> impl Iterator<Item = Result<DocumentChunk>> {
    let mut bytes_left = Some(n_bytes); // of the first document
    chunks.flat_map(move |chunk| match (chunk, bytes_left) {
        (Ok(chunk), Some(n)) if n < chunk.text.len() => {
            bytes_left = None;
            let start = &chunk.text[..chunk.text.floor_char_boundary(n)];
            let end = last_word_boundary(start).unwrap_or(start.len());
            let (first, second) = chunk.text.split_at(end);
            let first = DocumentChunk { text: first.into(), ..chunk };
            let second = DocumentChunk { text: second.into(), is_document_start: true };
            [first, second].into_iter().filter(|part| !part.text.is_empty()).map(Ok).collect()
        }
        (chunk, _) => {
            let n_read = chunk.as_ref().map_or(0, |chunk| chunk.text.len());
            bytes_left = bytes_left.map(|n| n - n_read);
            vec![chunk]
        }
    })
}

/// End of a chunk in the text from its start on.
struct ChunkEnd {
    /// Length of the chunk.
    len: usize,
    /// End of the document's separator, if the document ends with the chunk.
    document_end: Option<usize>,
}

/// End of the next chunk in `rest`, which goes on to the end of the file if it `is_all`.
fn chunk_end(rest: &str, is_all: bool) -> ChunkEnd {
    let view = &rest[..rest.floor_char_boundary(CHUNK_BYTES + SEPARATOR.len())];
    let (len, document_end) = if let Some(at) = view.find(SEPARATOR) {
        (at, Some(at + SEPARATOR.len()))
    } else if is_all && view.len() == rest.len() {
        (rest.len(), Some(rest.len()))
    } else {
        // A separator may begin in the last bytes of the view, so it is not cut there.
        let safe_len = view.floor_char_boundary(view.len().saturating_sub(SEPARATOR.len()));
        (last_word_boundary(&view[..safe_len]).unwrap_or(safe_len), None)
    };
    match long_word_cut(&rest[..len]) {
        Some(len) => ChunkEnd { len, document_end: None },
        None => ChunkEnd { len, document_end },
    }
}

/// Position at which the first word or white space that is too long is cut.
fn long_word_cut(text: &str) -> Option<usize> {
    let (mut start, mut in_gap) = (0, false);
    for (at, char) in text.char_indices() {
        if char.is_whitespace() != in_gap {
            (start, in_gap) = (at, !in_gap);
        } else if at - start >= MAX_WORD_BYTES {
            return Some(at);
        }
    }
    None
}

/// Last position that is after a word and before the white space in front of another word.
fn last_word_boundary(text: &str) -> Option<usize> {
    let word = text.rfind(|c: char| !c.is_whitespace())?;
    let space = text[..word].rfind(char::is_whitespace)?;
    let word = text[..space].rfind(|c: char| !c.is_whitespace())?;
    Some(word + text[word..].chars().next().map_or(0, char::len_utf8))
}
