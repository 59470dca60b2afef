//! Documents: whatever the pieces, the texts come back whole.

use std::io::Read;

use anyhow::Result;

use crate::documents::{DocumentReader, SEPARATOR};

/// The documents as whole texts, and how many pieces they came in.
fn documents(bytes: impl Read) -> Result<(Vec<String>, usize)> {
    let mut reader = DocumentReader::new(bytes, "the file".into());
    let (mut texts, mut pieces): (Vec<String>, _) = (Vec::new(), 0);
    while let Some(piece) = reader.next_chunk()? {
        assert!(!piece.text.is_empty());
        if piece.is_document_start {
            texts.push(String::new());
        }
        texts.last_mut().expect("the first piece begins a document").push_str(&piece.text);
        pieces += 1;
    }
    Ok((texts, pieces))
}

#[test]
fn separators_and_the_ends_of_files_end_documents() -> Result<()> {
    let text = "\n one\n<|endoftext|>\n\n<|endoftext|> two words <|endoftext|>three<|endoftext|>\n";
    assert_eq!(documents(text.as_bytes())?.0, ["one", "two words", "three"]);
    assert_eq!(documents("no separator".as_bytes())?.0, ["no separator"]);
    assert!(documents(" \n ".as_bytes())?.0.is_empty());
    assert!(documents("".as_bytes())?.0.is_empty());
    Ok(())
}

/// Gives out bytes by twos and threes, as a slow disk might.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        let n = (100 + 7919 * self.1 % 4099).min(self.0.len()).min(buffer.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn long_documents_come_in_pieces_that_make_up_the_text() -> Result<()> {
    let long: String = (0..900_000).map(|i| format!("wört{} ", i % 977)).collect();
    let giant = "é".repeat(3_000_000); // not one place to cut
    let texts = ["short", long.trim(), "between", &giant, "end"];
    let file = texts.join(&format!("\n{SEPARATOR}\n"));
    let (found, pieces) = documents(Slow(file.as_bytes(), 0))?;
    assert_eq!(found.len(), texts.len());
    assert!(found.iter().zip(texts).all(|(found, text)| found == text));
    assert!(pieces > 8, "{pieces} pieces");
    Ok(())
}

#[test]
fn pieces_are_cut_where_no_token_reaches_across() -> Result<()> {
    let long: String = (0..400_000).map(|i| format!("word{}  \n", i % 977)).collect();
    let mut reader = DocumentReader::new(long.as_bytes(), "the file".into());
    let mut last = String::new();
    while let Some(piece) = reader.next_chunk()? {
        let begins_with_space = piece.text.starts_with(char::is_whitespace);
        assert!(
            piece.is_document_start || (begins_with_space && !last.ends_with(char::is_whitespace))
        );
        last = piece.text;
    }
    Ok(())
}

#[test]
fn words_and_gaps_without_end_are_cut_since_merging_them_would_take_for_ever() -> Result<()> {
    let text = format!("a {} b{}c", "x".repeat(5000), " ".repeat(3000));
    let mut reader = DocumentReader::new(text.as_bytes(), "the file".into());
    let mut whole = String::new();
    while let Some(piece) = reader.next_chunk()? {
        let runs = piece.text.split_inclusive(char::is_whitespace).map(str::len);
        assert!(runs.max() <= Some(1025));
        let gap = piece.text.split(|c: char| !c.is_whitespace()).map(str::len);
        assert!(gap.max() <= Some(1024));
        whole.push_str(&piece.text);
    }
    assert_eq!(whole, text);
    Ok(())
}

#[test]
fn what_is_no_text_is_refused_with_its_place() {
    let mut bytes = "a b ".repeat(400_000).into_bytes();
    bytes.extend(*b"\xffrest");
    let error = documents(&bytes[..]).expect_err("refused").to_string();
    assert_eq!(error, "the file is not UTF-8: byte 1600000 begins no character");
    let error = documents(&"é".as_bytes()[..1]).expect_err("half a character").to_string();
    assert!(error.contains("byte 0"), "{error}");
}
