//! Reader of llama2.c tokenizer files: sentencepiece tokens with their scores.
//!
//! The file stores plain spaces and its own names of the control tokens. Both are translated to
//! Hugging Face's spelling, which gives an ordinary [`Tokenizer`]. (Unlike in `run.c`, text never
//! becomes `<s>` or `</s>`.)

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tensor_core::regular_file;

use crate::Tokenizer;
use crate::gguf_tokenizer::{CONTROL, GgufTokenizer, NORMAL, UNKNOWN};

/// Limit of a file's length; that of Llama 2 has half a megabyte.
const MAX_BYTES: u64 = 1 << 27;
/// IDs of the byte tokens.
const BYTES: Range<usize> = 3..259;

/// Opens a tokenizer file such as `tok512.bin`.
///
/// # Errors
/// When the file cannot be read or is damaged, or its first tokens are not those of sentencepiece.
pub fn open(path: &Path) -> Result<Tokenizer> {
    let bytes = regular_file::read(path, MAX_BYTES)?;
    read(&bytes).with_context(|| format!("{} is not a llama2.c tokenizer", path.display()))
}

/// Parses a tokenizer file: the length of the longest token, then the score, length and bytes of
/// each token.
pub(crate) fn read(bytes: &[u8]) -> Result<Tokenizer> {
    let (_longest, mut rest) = bytes.split_first_chunk::<4>().context("it is truncated")?;
    let (mut tokens, mut scores) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let id = tokens.len();
        let truncated = || format!("it is truncated in token {id}");
        let (score, after) = rest.split_first_chunk().with_context(truncated)?;
        let (length, after) = after.split_first_chunk().with_context(truncated)?;
        let (score, length) = (f32::from_le_bytes(*score), i32::from_le_bytes(*length));
        ensure!(score.is_finite(), "the score of token {id} is {score}");
        let length = usize::try_from(length).ok();
        let length = length.with_context(|| format!("the length of token {id} is negative"))?;
        let (token_text, after) = after.split_at_checked(length).with_context(truncated)?;
        let token_text = std::str::from_utf8(token_text).ok();
        let token_text = token_text.with_context(|| format!("token {id} is not UTF-8"))?;
        tokens.push(token_text.replace(' ', "▁"));
        scores.push(score + 0.); // turns -0 into 0: both rank the same
        rest = after;
    }
    for (id, byte) in BYTES.zip(0u8..=255) {
        let is_byte = tokens.get(id) == Some(&format!("<0x{byte:02X}>"));
        ensure!(is_byte, "token {id} is not <0x{byte:02X}>");
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
