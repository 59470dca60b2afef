use std::collections::HashSet;

use anyhow::Result;
use proptest::prelude::*;
use tensor_core::testing::course_data;

use super::error;
use crate::llama2c_tokenizer::{open, read};
use crate::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};

/// Tokenizer file: `<unk>`, `<s>`, `</s>`, the byte tokens, then these tokens with their scores.
fn file(pieces: &[(&str, f32)]) -> Vec<u8> {
    let special = ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from).into_iter();
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let all = special.chain(bytes).map(|piece| (piece, 0.));
    let all = all.chain(pieces.iter().map(|&(piece, score)| (piece.to_string(), score)));
    let entry = |(piece, score): (String, f32)| {
        [&score.to_le_bytes()[..], &(piece.len() as i32).to_le_bytes(), piece.as_bytes()].concat()
    };
    [7u32.to_le_bytes().to_vec(), all.flat_map(entry).collect()].concat()
}

/// IDs: " " 259, "a" 260, "b" 261, "ab" 262, "ba" 263, "aba" 264, " a" 265, "é" 266, "aa" 267, "bb"
/// 268.
fn tiny() -> Tokenizer {
    let pieces =
        [(" ", -9.), ("a", -9.), ("b", -9.), ("ab", -2.), ("ba", -1.), ("aba", -3.), (" a", -4.)];
    let more = [("é", -9.), ("aa", -0.), ("bb", 0.)];
    read(&file(&[&pieces[..], &more].concat())).unwrap()
}

/// Token IDs of a text, without BOS.
fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No).unwrap()
}

/// Token IDs of a text, with BOS.
fn encode_with_bos(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No).unwrap()
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    tokenizer.decode(ids, SkipSpecialTokens::Yes).unwrap()
}

#[test]
fn the_best_merge_comes_first_and_ties_go_to_the_left() {
    let tokenizer = tiny();
    let encode = |text| encode(&tokenizer, text);
    assert!(encode("").is_empty());
    assert_eq!(encode("a"), [265]);
    assert_eq!(encode("aba"), [259, 264]); // "ba" before "ab", then "aba" before " a"
    assert_eq!(encode("abb"), [265, 268]);
    assert_eq!(encode("aaa"), [259, 267, 260]); // the left "aa"
    assert_eq!(encode("aabb"), [259, 267, 268]); // -0 and 0 are the same score
    assert_eq!(encode("é"), [259, 266]);
    assert_eq!(encode("c€"), [259, 3 + 0x63, 3 + 0xE2, 3 + 0x82, 3 + 0xAC]);
    assert_eq!(encode(" a"), [259, 265]); // the added space precedes the text's own
    assert_eq!(encode_with_bos(&tokenizer, "a"), [1, 265]);
    assert_eq!(encode_with_bos(&tokenizer, ""), [1]);
}

#[test]
fn text_never_becomes_a_control_token() {
    let pieces = [" ", "\n", "<", "s", ">"].map(|piece| (piece, -9.));
    let more = [("\n<", -1.), ("s>\n", -1.), (">\n", -1.)];
    let tokenizer = read(&file(&[&pieces[..], &more].concat())).unwrap();
    assert_eq!(encode(&tokenizer, "\n<s>\n"), [259, 264, 265]);
    assert!(encode(&tokenizer, "<s>").iter().all(|&id| id > 2));
}

#[test]
fn decoding_drops_control_tokens_and_the_first_space() {
    let tokenizer = tiny();
    assert_eq!(decode(&tokenizer, &[1, 265, 265, 2]), "a a");
    assert_eq!(decode(&tokenizer, &[1, 259, 260]), "a");
    assert_eq!(decode(&tokenizer, &[3 + 0xC3, 260]), "\u{FFFD}a");
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
    let texts = [1, 3 + 0xC3, 3 + 0xA9, 265, 3 + 0xE2].map(|token| stream.push(token).unwrap());
    assert_eq!(texts, ["", "", "é", " a", ""]);
    assert_eq!(stream.finish().unwrap(), "\u{FFFD}");
}

#[test]
fn damaged_tokenizer_files_are_rejected_with_the_reason() {
    let valid = file(&[("a", -1.)]);
    let parse = |bytes: &[u8]| error(read(bytes));
    let end = valid.len();
    assert!(parse(&valid[..end - 1]).contains("truncated in token 259"));
    assert!(parse(&valid[..end - 6]).contains("truncated in token 259"));
    assert!(parse(&valid[..3]).contains("truncated"));
    let changed = |at: usize, bytes: [u8; 4]| {
        let mut file = valid.clone();
        file[at..at + 4].copy_from_slice(&bytes);
        parse(&file)
    };
    assert!(changed(end - 5, [255; 4]).contains("the length of token 259 is negative"));
    assert!(changed(end - 5, i32::MAX.to_le_bytes()).contains("truncated in token 259"));
    assert!(changed(end - 9, f32::NAN.to_le_bytes()).contains("the score of token 259 is NaN"));
    assert!(changed(end - 4, [0, 0, 0, 0xFF]).contains("token 259 is not UTF-8"));
    assert!(parse(&[0; 4]).contains("token 3 is not <0x00>"));
}

/// Encoding by `run.c`'s algorithm: a search over all pairs for every merge. The first of `pieces`
/// has ID 259.
fn encode_by_exhaustive_search(pieces: &[(&str, f32)], text: &str) -> Vec<u32> {
    let bytes = |id: u32| match id {
        0..259 => format!("<0x{:02X}>", id - 3),
        _ => pieces[id as usize - 259].0.to_string(),
    };
    let find = |text: &str| pieces.iter().position(|piece| piece.0 == text).map(|i| 259 + i as u32);
    let start = if text.is_empty() { String::new() } else { format!(" {text}") };
    let start = start.chars().flat_map(|character| {
        let character = character.to_string();
        let in_bytes = || character.bytes().map(|byte| 3 + u32::from(byte)).collect();
        find(&character).map_or_else(in_bytes, |id| vec![id])
    });
    let mut tokens: Vec<u32> = start.collect();
    loop {
        let mut best: Option<(f32, usize, u32)> = None;
        for (i, pair) in tokens.windows(2).enumerate() {
            let Some(id) = find(&[bytes(pair[0]), bytes(pair[1])].concat()) else { continue };
            let score = pieces[id as usize - 259].1;
            if best.is_none_or(|best| score > best.0) {
                best = Some((score, i, id));
            }
        }
        let Some((_, i, id)) = best else { return tokens };
        tokens[i] = id;
        tokens.remove(i + 1);
    }
}

/// Number of ways to split `piece` into two other pieces.
fn n_derivations(piece: &str, all: &[String]) -> usize {
    let splits = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
    let is_piece = |part: &str| all.iter().any(|piece| piece == part);
    splits.filter(|(left, right)| is_piece(left) && is_piece(right)).count()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500, failure_persistence: None, ..Default::default()
    })]

    /// Compares with `run.c`'s algorithm on files that sentencepiece could produce: a piece for the
    /// space, distinct scores. Pieces with two derivations are excluded: there `run.c` merges the
    /// leftmost pair, but a `tokenizer.json`, which ranks merges, the one with the longer first
    /// part.
    #[test]
    fn merges_equal_those_of_an_exhaustive_search(
        mut pieces in prop::collection::vec("[ab é]{1,5}", 0..25),
        text in "[abcé ]{0,40}",
    ) {
        pieces.insert(0, " ".into());
        let mut distinct = HashSet::new();
        pieces.retain(|piece| distinct.insert(piece.clone()));
        let all = pieces.clone();
        pieces.retain(|piece| n_derivations(piece, &all) < 2);
        let pieces: Vec<(&str, f32)> =
            pieces.iter().zip(0u8..).map(|(piece, i)| (&**piece, -f32::from(i))).collect();
        let tokenizer = read(&file(&pieces)).unwrap();
        prop_assert_eq!(encode(&tokenizer, &text), encode_by_exhaustive_search(&pieces, &text));
    }

    #[test]
    fn any_text_survives_encoding_and_decoding(text in any::<String>()) {
        let text = text.replace('▁', " "); // sentencepiece cannot distinguish them
        let tokenizer = tiny();
        prop_assert_eq!(decode(&tokenizer, &encode_with_bos(&tokenizer, &text)), text);
    }

    #[test]
    fn reading_never_panics_on_damaged_files(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = file(&[("a", -1.), ("é", -2.)]);
        let index = at.index(file.len());
        file[index] = byte;
        if let Ok(tokenizer) = read(&file) {
            decode(&tokenizer, &encode_with_bos(&tokenizer, "aé\0x"));
        }
        let _ = read(&file[..cut.index(file.len())]);
    }
}

#[test]
fn tok512_encodes_stories_as_llama2c_does() -> Result<()> {
    let Some(path) = course_data("models/tok512.bin") else { return Ok(()) };
    let tokenizer = open(&path)?;
    assert_eq!(tokenizer.vocab_size(), 512);
    assert_eq!(encode_with_bos(&tokenizer, "Once upon a time"), [1, 403, 407, 261, 378]);
    assert_eq!(tokenizer.id_to_token(403).as_deref(), Some("▁Once"));
    for text in ["Once upon a time", "  Two spaces, नमस्ते 🦀\nand \"more\"…", "<s>", "\0"]
    {
        assert_eq!(decode(&tokenizer, &encode_with_bos(&tokenizer, text)), text);
    }
    Ok(())
}
