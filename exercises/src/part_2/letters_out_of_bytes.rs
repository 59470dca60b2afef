//! 2.1 Letters out of bytes (fill in, 15 minutes, ●●○)
//!
//! Tokens arrive in pieces of a few bytes, and a letter may be cut: ए is three bytes, an emoji
//! four. After each piece show all letters that are complete, and hold back the bytes of one that
//! is not. Bytes that can begin no letter become `�`. Return a text for each piece: the letters
//! that it completes, without those shown before.
//!
//! Hint: Keep the bytes held back in a `Vec<u8>`, and add each piece to it.
//! Hint: `std::str::from_utf8` says how far the bytes are valid (`error.valid_up_to()`), and by
//! `error.error_len()` whether the rest is wrong (`Some(n)` bytes) or only incomplete (`None`).
//! Hint: `utf8_chunks()` of the bytes gives `valid()` and `invalid()` parts. The last invalid part
//! is held back if `from_utf8(part)` fails with `error_len()` of `None`; every other is one `�`.
//! Read: crates/part_2_tiny_gpt/src/tokenizer.rs: pub struct StreamDecoder
//! Read: book/src/02_tiny_gpt.md: ## From text to batches

/// Letters that each of `pieces` completes.
pub fn letters_out_of_bytes(pieces: &[&[u8]]) -> Vec<String> {
    let mut held = Vec::new();
    let mut texts = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut text = String::new();
        // SOLUTION: 14 lines: the complete letters go to `text`, the rest stays in `held`
        let mut rest = Vec::new();
        let mut chunks = held.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let incomplete = |bytes: &[u8]| {
                std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
            };
            match chunk.invalid() {
                [] => {}
                bytes if chunks.peek().is_none() && incomplete(bytes) => rest = bytes.to_vec(),
                _ => text.push('\u{fffd}'),
            }
        }
        held = rest;
        // END
        texts.push(text);
    }
    texts
}

// GRADE

use tiny_gpt::StreamDecoder;

use crate::grading::{Answers, Fill, Wrong};

type Decode = fn(&[&[u8]]) -> Vec<String>;

/// Grader. The reference is part 2's.
pub const GRADE: Fill<Decode> = Fill {
    cases,
    reference: |pieces| {
        let mut decoder = StreamDecoder::default();
        let mut text = |bytes: &[u8]| bytes.iter().map(|&b| decoder.push(b.into())).collect();
        pieces.iter().map(|piece| text(piece)).collect()
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |pieces| {
                pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
            },
            says: "each piece is decoded alone, so a letter that is cut becomes several �",
            read: "",
        },
        Wrong {
            f: |pieces| {
                let mut held = Vec::new();
                let mut texts = Vec::new();
                for piece in pieces {
                    held.extend_from_slice(piece);
                    let text = std::str::from_utf8(&held).unwrap_or_default().to_string();
                    if !text.is_empty() {
                        held.clear();
                    }
                    texts.push(text);
                }
                texts
            },
            says: "all is held back until everything is valid; the letters before the cut could \
                   be shown, and a wrong byte stops the text for ever",
            read: "",
        },
        Wrong {
            f: |pieces| {
                let valid =
                    |bytes: &[u8]| bytes.utf8_chunks().map(|c| c.valid().to_string()).collect();
                pieces.iter().map(|piece| valid(piece)).collect()
            },
            says: "bytes of an incomplete letter are dropped; the next piece completes it",
            read: "",
        },
        Wrong {
            f: |pieces| {
                let texts = letters_out_of_bytes(pieces);
                (1..=texts.len()).map(|n| texts[..n].concat()).collect()
            },
            says: "each text repeats those before it; a piece gives only what it completes",
            read: "",
        },
        Wrong {
            f: |pieces| {
                let texts = letters_out_of_bytes(pieces).into_iter();
                texts.map(|text| text.replace('\u{fffd}', "")).collect()
            },
            says: "bytes that can begin no letter vanish; they become �",
            read: "",
        },
    ],
};

fn cases(f: Decode, answers: &mut Answers) {
    let mut record = |label: &str, pieces: &[&[u8]]| {
        // A text as numbers: its characters, with a 0 after each piece
        answers.record(label, || {
            let texts = f(pieces).into_iter().map(|text| text + "\0").collect::<String>();
            Ok(texts.chars().map(|c| f64::from(u32::from(c))).collect::<Vec<f64>>())
        });
    };
    record("`moon` in two pieces", &[b"mo", b"on"]);
    record("é cut in two", &[b"caf\xc3", b"\xa9!"]);
    record("an emoji, byte by byte", &[b"\xf0", b"\x9f", b"\x8c", b"\x99"]);
    record("a byte that begins nothing", &[b"a\xffb", b"c"]);
    record("a letter that is never completed", &[b"\xe0\xa4", b"x"]);
    let text = "चाँद ऊँचा है, the moon is high 🌙".as_bytes();
    for n in 0..4 {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + answers.rng().below(4)).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        answers.record(format!("random pieces {}", n + 1), || {
            let texts = f(&pieces).into_iter().map(|text| text + "\0").collect::<String>();
            Ok(texts.chars().map(|c| f64::from(u32::from(c))).collect::<Vec<f64>>())
        });
    }
}
