//! 2.1 The byte tokenizer: text is UTF-8 and a token is a byte, so the vocabulary has 256 tokens
//! and unknown tokens cannot occur.
//!
//! A Devanagari letter takes three tokens, an emoji four: [`StreamDecoder`] holds bytes back until
//! a character is complete.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// Byte-level tokenizer: converts text to byte ids and back.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByteTokenizer;

impl ByteTokenizer {
    /// Vocabulary size.
    pub const VOCAB_SIZE: usize = 256;

    /// Token ids of `text`, one per byte; the bytes need not be valid UTF-8.
    pub fn encode(self, text: impl AsRef<[u8]>) -> Vec<u32> {
        text.as_ref().iter().map(|&byte| u32::from(byte)).collect()
    }

    /// Text of `tokens`, with `�` for invalid UTF-8 and for ids above 255.
    pub fn decode(self, tokens: &[u32]) -> String {
        let mut stream = StreamDecoder::default();
        let mut text: String = tokens.iter().map(|&token| stream.push(token)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// Hugging Face `tokenizer.json` of this tokenizer: byte-level BPE without merges,
    /// where id = byte.
    pub fn to_json(self) -> Value {
        let vocab = (0..=255u8).map(|byte| (byte_to_unicode(byte).to_string(), json!(byte)));
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
        });
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": null,
            "pre_tokenizer": byte_level,
            "post_processor": null,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": vocab.collect::<Map<String, Value>>(),
                "merges": []
            }
        })
    }
}

/// Character that represents a byte in `tokenizer.json`: the byte's own character if it is
/// printable, else one from U+0100 on. GPT-2's `bytes_to_unicode`.
pub fn byte_to_unicode(byte: u8) -> char {
    const PRINTABLE: [RangeInclusive<u8>; 3] = [b'!'..=b'~', 0xA1..=0xAC, 0xAE..=0xFF];
    let is_printable = |byte: u8| PRINTABLE.iter().any(|range| range.contains(&byte));
    if is_printable(byte) {
        return char::from(byte);
    }
    let unprintable_before = (0..byte).filter(|&byte| !is_printable(byte)).count() as u32;
    char::from_u32(0x100 + unprintable_before).expect("at most 68 bytes are not printable")
}

/// Streaming decoder: converts tokens to text as they arrive, holding back the bytes of an
/// incomplete character.
#[derive(Debug, Clone, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// Adds one token and returns the text that is complete now: often empty, sometimes several
    /// characters.
    pub fn push(&mut self, token: u32) -> String {
        self.pending.push(u8::try_from(token).unwrap_or(0xFF)); // 0xFF never occurs in UTF-8
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(invalid) = error.error_len() else { break }; // may still be completed
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[invalid..];
                }
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// Remaining text after the last token: `�` for an incomplete character.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
