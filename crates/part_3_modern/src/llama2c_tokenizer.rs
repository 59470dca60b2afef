//! The tokenizer beside a llama2.c checkpoint: pieces with scores, which are all that a sentencepiece tokenizer is.
//!
//! The file writes spaces as they are and calls its control tokens by names of its own; in Hugging Face's spelling it is
//! a [`Tokenizer`] like any other. (Unlike in `run.c`, text never becomes `<s>` or `</s>`.)

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::gguf_tokenizer::{CONTROL, GgufTokenizer, NORMAL, UNKNOWN};
use crate::tokenizer::Tokenizer;

/// The tokens of single bytes.
const BYTES: Range<usize> = 3..259;

/// Reads a file like `tok512.bin`.
///
/// # Errors
/// When the file cannot be read or is damaged, or its first pieces are not those of sentencepiece.
pub fn open(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    read(&bytes).with_context(|| format!("{} is no tokenizer of llama2.c", path.display()))
}

/// The tokenizer in the bytes of such a file: the longest piece's length, then each piece's score, length and bytes.
pub(crate) fn read(bytes: &[u8]) -> Result<Tokenizer> {
    let (_longest, mut rest) = bytes.split_first_chunk::<4>().context("it is truncated")?;
    let (mut tokens, mut scores) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let id = tokens.len();
        let truncated = || format!("it is truncated in piece {id}");
        let (score, after) = rest.split_first_chunk().with_context(truncated)?;
        let (length, after) = after.split_first_chunk().with_context(truncated)?;
        let (score, length) = (f32::from_le_bytes(*score), i32::from_le_bytes(*length));
        ensure!(score.is_finite(), "the score of piece {id} is {score}");
        let length = usize::try_from(length).ok();
        let length = length.with_context(|| format!("the length of piece {id} is negative"))?;
        let (piece, after) = after.split_at_checked(length).with_context(truncated)?;
        let piece = std::str::from_utf8(piece).ok();
        let piece = piece.with_context(|| format!("piece {id} is no UTF-8"))?;
        tokens.push(piece.replace(' ', "▁"));
        scores.push(score + 0.); // -0 becomes 0, its equal
        rest = after;
    }
    for (id, byte) in BYTES.zip(0u8..=255) {
        let is_byte = tokens.get(id) == Some(&format!("<0x{byte:02X}>"));
        ensure!(is_byte, "piece {id} is not <0x{byte:02X}>");
    }
    let mut token_type = vec![NORMAL; tokens.len()];
    token_type[..BYTES.start].copy_from_slice(&[UNKNOWN, CONTROL, CONTROL]);
    for (token, name) in tokens.iter_mut().zip(["<unk>", "<s>", "</s>"]) {
        *token = name.into();
    }
    Tokenizer::from_gguf(&GgufTokenizer {
        model: "llama".into(),
        tokens,
        scores,
        token_type,
        bos: Some(1),
        eos: Some(2),
        unk: Some(0),
        ..GgufTokenizer::default()
    })
}
