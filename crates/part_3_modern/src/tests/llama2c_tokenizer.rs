use anyhow::Result;
use proptest::prelude::*;

use super::{course_data, error};
use crate::llama2c_tokenizer::{Bos, Llama2cTokenizer};

/// A tokenizer's file: `<unk>`, `<s>`, `</s>`, the bytes, then these pieces with their scores.
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

/// Ids: " " 259, "a" 260, "b" 261, "ab" 262, "ba" 263, "aba" 264, " a" 265, "é" 266, "aa" 267, "bb" 268.
fn tiny() -> Llama2cTokenizer {
    let pieces =
        [(" ", -9.), ("a", -9.), ("b", -9.), ("ab", -2.), ("ba", -1.), ("aba", -3.), (" a", -4.)];
    let more = [("é", -9.), ("aa", -0.), ("bb", 0.)];
    Llama2cTokenizer::from_bytes(&file(&[&pieces[..], &more].concat())).unwrap()
}

#[test]
fn the_best_merge_comes_first_and_the_leftmost_of_equals() {
    let tokenizer = tiny();
    let encode = |text| tokenizer.encode(text, Bos::Omit);
    assert!(encode("").is_empty());
    assert_eq!(encode("a"), [265]);
    assert_eq!(encode("aba"), [259, 264]); // "ba" before "ab", then "aba" before " a"
    assert_eq!(encode("abb"), [265, 268]);
    assert_eq!(encode("aaa"), [259, 267, 260]); // the left "aa"
    assert_eq!(encode("aabb"), [259, 267, 268]); // -0 and 0 are the same score
    assert_eq!(encode("é"), [259, 266]);
    assert_eq!(encode("c€"), [259, 3 + 0x63, 3 + 0xE2, 3 + 0x82, 3 + 0xAC]);
    assert_eq!(tokenizer.encode("a", Bos::Add), [1, 265]);
    assert_eq!(tokenizer.encode("", Bos::Add), [1]);
}

#[test]
fn text_never_becomes_a_control_token() {
    let tokenizer = Llama2cTokenizer::from_bytes(&file(&[
        ("\n", -9.),
        ("<", -9.),
        ("s", -9.),
        (">", -9.),
        ("\n<", -1.),
        ("s>\n", -1.),
        (">\n", -1.),
    ]));
    let tokens = tokenizer.unwrap().encode("\n<s>\n", Bos::Omit);
    assert_eq!(tokens, [3 + 32, 263, 264]);
}

#[test]
fn decoding_drops_control_tokens_and_the_first_space() {
    let tokenizer = tiny();
    assert_eq!(tokenizer.decode(&[1, 265, 265, 2]), "a a");
    assert_eq!(tokenizer.decode(&[265]), " a");
    assert_eq!(tokenizer.decode(&[1, 259, 260]), "a");
    assert_eq!(tokenizer.decode(&[3 + 0xC3, 260]), "\u{FFFD}a");
    assert_eq!(tokenizer.decode(&[260, 9999, u32::MAX]), "a\u{FFFD}\u{FFFD}");
    let mut stream = tokenizer.stream();
    let texts = [1, 3 + 0xC3, 3 + 0xA9, 265, 3 + 0xE2].map(|token| stream.push(token));
    assert_eq!(texts, ["", "", "é", " a", ""]);
    assert_eq!(stream.finish(), "\u{FFFD}");
}

#[test]
fn damaged_files_are_refused() {
    let whole = file(&[("a", -1.)]);
    let parse = |bytes: &[u8]| error(Llama2cTokenizer::from_bytes(bytes));
    let end = whole.len();
    assert!(parse(&whole[..end - 1]).contains("truncated in piece 259"));
    assert!(parse(&whole[..end - 6]).contains("truncated in piece 259"));
    assert!(parse(&whole[..3]).contains("truncated"));
    let changed = |at: usize, bytes: [u8; 4]| {
        let mut file = whole.clone();
        file[at..at + 4].copy_from_slice(&bytes);
        parse(&file)
    };
    assert!(changed(end - 5, [255; 4]).contains("the length of piece 259 is negative"));
    assert!(changed(end - 5, i32::MAX.to_le_bytes()).contains("truncated in piece 259"));
    assert!(changed(end - 9, f32::NAN.to_le_bytes()).contains("the score of piece 259 is NaN"));
    assert!(parse(&[0; 4]).contains("piece 3 is not <0x00>"));
}

/// Merges as `run.c` looks for them: over all pairs, again and again.
fn slow(tokenizer: &Llama2cTokenizer, scores: &[f32], text: &str) -> Vec<u32> {
    let find = |piece: &[u8]| {
        (259..259 + scores.len() as u32).find(|&id| tokenizer.piece(id) == Some(piece))
    };
    let start = if text.is_empty() { String::new() } else { format!(" {text}") };
    let start = start.chars().flat_map(|character| {
        let bytes = character.to_string().into_bytes();
        find(&bytes)
            .map_or_else(|| bytes.iter().map(|&byte| 3 + u32::from(byte)).collect(), |id| vec![id])
    });
    let mut tokens: Vec<u32> = start.collect();
    loop {
        let mut best: Option<(f32, usize, u32)> = None;
        for (i, pair) in tokens.windows(2).enumerate() {
            let union =
                [tokenizer.piece(pair[0]).unwrap(), tokenizer.piece(pair[1]).unwrap()].concat();
            let Some(id) = find(&union) else { continue };
            let score = scores[id as usize - 259];
            if best.is_none_or(|best| score > best.0) {
                best = Some((score, i, id));
            }
        }
        let Some((_, i, id)) = best else { return tokens };
        tokens[i] = id;
        tokens.remove(i + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn merges_are_those_of_the_slow_search(
        pieces in prop::collection::vec(("[ab é]{1,5}", -4i8..3), 0..25),
        text in "[abcé ]{0,40}",
    ) {
        let pieces: Vec<(&str, f32)> = pieces.iter().map(|(piece, score)| (&piece[..], f32::from(*score))).collect();
        let tokenizer = Llama2cTokenizer::from_bytes(&file(&pieces)).unwrap();
        let scores: Vec<f32> = pieces.iter().map(|piece| piece.1).collect();
        prop_assert_eq!(tokenizer.encode(&text, Bos::Omit), slow(&tokenizer, &scores, &text));
    }

    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        let tokenizer = tiny();
        let tokens = tokenizer.encode(&text, Bos::Add);
        prop_assert_eq!(tokenizer.decode(&tokens), text);
    }

    #[test]
    fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut file = file(&[("a", -1.), ("é", -2.)]);
        let index = at.index(file.len());
        file[index] = byte;
        if let Ok(tokenizer) = Llama2cTokenizer::from_bytes(&file) {
            tokenizer.decode(&tokenizer.encode("aé\0x", Bos::Add));
        }
        let _ = Llama2cTokenizer::from_bytes(&file[..cut.index(file.len())]);
    }
}

#[test]
fn tok512_reads_stories() -> Result<()> {
    let Some(path) = course_data("models/tok512.bin") else { return Ok(()) };
    let tokenizer = Llama2cTokenizer::open(&path)?;
    assert_eq!(tokenizer.vocab_size(), 512);
    assert_eq!(tokenizer.encode("Once upon a time", Bos::Add), [1, 403, 407, 261, 378]);
    assert_eq!(tokenizer.piece(403), Some(&b" Once"[..]));
    for text in ["Once upon a time", "  Two spaces, नमस्ते 🦀\nand \"more\"…", "<s>", "\0"]
    {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, Bos::Add)), text);
    }
    Ok(())
}
