//! Documents: however a text is split into chunks, its documents are complete.

use std::io::Read;

use anyhow::Result;

use crate::documents::{DocumentReader, SEPARATOR};

/// Documents as complete texts, and the number of chunks.
fn documents(bytes: impl Read) -> Result<(Vec<String>, usize)> {
    let mut reader = DocumentReader::new(bytes, "the file".into());
    let (mut texts, mut n_chunks): (Vec<String>, _) = (Vec::new(), 0);
    while let Some(chunk) = reader.next_chunk()? {
        assert!(!chunk.text.is_empty());
        if chunk.is_document_start {
            texts.push(String::new());
        }
        texts.last_mut().expect("the first chunk starts a document").push_str(&chunk.text);
        n_chunks += 1;
    }
    Ok((texts, n_chunks))
}

#[test]
fn a_separator_or_the_end_of_the_file_ends_a_document() -> Result<()> {
    let text = "\n one\n<|endoftext|>\n\n<|endoftext|> two words <|endoftext|>three<|endoftext|>\n";
    assert_eq!(documents(text.as_bytes())?.0, ["one", "two words", "three"]);
    assert_eq!(documents("no separator".as_bytes())?.0, ["no separator"]);
    assert!(documents(" \n ".as_bytes())?.0.is_empty());
    assert!(documents("".as_bytes())?.0.is_empty());
    Ok(())
}

/// Reader that returns few bytes per call, in varying numbers.
struct ShortReads<'a>(&'a [u8], usize);

impl Read for ShortReads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        let n = (100 + 7919 * self.1 % 4099).min(self.0.len()).min(buffer.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn the_chunks_of_a_long_document_concatenate_to_its_text() -> Result<()> {
    let long: String = (0..900_000).map(|i| format!("wört{} ", i % 977)).collect();
    let giant = "é".repeat(3_000_000); // without a word boundary
    let texts = ["short", long.trim(), "between", &giant, "end"];
    let file = texts.join(&format!("\n{SEPARATOR}\n"));
    let (documents, n_chunks) = documents(ShortReads(file.as_bytes(), 0))?;
    assert_eq!(documents.len(), texts.len());
    assert!(documents.iter().zip(texts).all(|(document, text)| document == text));
    assert!(n_chunks > 8, "{n_chunks} chunks");
    Ok(())
}

#[test]
fn chunks_are_cut_where_no_token_can_cross() -> Result<()> {
    let long: String = (0..400_000).map(|i| format!("word{}  \n", i % 977)).collect();
    let mut reader = DocumentReader::new(long.as_bytes(), "the file".into());
    let mut last = String::new();
    while let Some(chunk) = reader.next_chunk()? {
        let begins_with_space = chunk.text.starts_with(char::is_whitespace);
        assert!(
            chunk.is_document_start || (begins_with_space && !last.ends_with(char::is_whitespace))
        );
        last = chunk.text;
    }
    Ok(())
}

#[test]
fn very_long_words_and_gaps_are_cut_to_bound_the_merging_time() -> Result<()> {
    let text = format!("a {} b{}c", "x".repeat(5000), " ".repeat(3000));
    let mut reader = DocumentReader::new(text.as_bytes(), "the file".into());
    let mut concatenated = String::new();
    while let Some(chunk) = reader.next_chunk()? {
        let words = chunk.text.split_inclusive(char::is_whitespace).map(str::len);
        assert!(words.max() <= Some(1025));
        let gaps = chunk.text.split(|c: char| !c.is_whitespace()).map(str::len);
        assert!(gaps.max() <= Some(1024));
        concatenated.push_str(&chunk.text);
    }
    assert_eq!(concatenated, text);
    Ok(())
}

#[test]
fn invalid_utf8_is_refused_with_its_position() {
    let mut bytes = "a b ".repeat(400_000).into_bytes();
    bytes.extend(*b"\xffrest");
    let error = documents(&bytes[..]).expect_err("refused").to_string();
    assert_eq!(error, "the file is not UTF-8: invalid byte at 1600000");
    let error = documents(&"é".as_bytes()[..1]).expect_err("half a character").to_string();
    assert!(error.contains("byte at 0"), "{error}");
}
