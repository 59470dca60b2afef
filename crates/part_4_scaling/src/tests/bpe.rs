//! 4.1: BPE gives the results of its naive form and of the crate `tokenizers`, and its invariants
//! hold for any text.

use anyhow::Result;
use datasets::builtin_text::BuiltinText;
use proptest::prelude::*;
use serde_json::Value;
use tensor_core::testing::course_data;

use crate::bpe::SPECIAL_TOKENS;
use crate::pretokenizer::pretokens;
use crate::tokenizer_training::train_hf_tokenizer;
use crate::{Bpe, naive_bpe};

/// Asserts that the crate `tokenizers` learns the same tokens and merges from `text`, and gives the
/// same ids for it and for `other`.
fn assert_agrees(text: &str, other: &str, vocab_size: usize) -> Result<()> {
    let bpe = Bpe::train(text, vocab_size);
    let mut hf_tokenizer = train_hf_tokenizer([text].into_iter(), vocab_size)?;
    assert_eq!(bpe.vocab_size(), hf_tokenizer.get_vocab_size(true), "{text:?}");
    for id in 5..bpe.vocab_size() as u32 {
        assert_eq!(bpe.id_to_token(id), hf_tokenizer.id_to_token(id), "token {id} of {text:?}");
    }
    let json = serde_json::to_value(&hf_tokenizer)?;
    let merge =
        |pair: &Value| format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let merges: String = json["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    assert_eq!(bpe.to_merges(), merges, "{text:?}");
    hf_tokenizer.set_encode_special_tokens(true);
    for text in [text, other] {
        let encoding = hf_tokenizer.encode_fast(text, false).map_err(anyhow::Error::from_boxed)?;
        assert_eq!(bpe.encode(text), encoding.get_ids(), "{text:?}");
    }
    Ok(())
}

/// Asserts that the naive form learns the same merges from `text`, and gives the same ids for it
/// and for `other`.
fn assert_agrees_with_naive_bpe(text: &str, other: &str, n_merges: usize) {
    let bytes = Bpe::train("", 261); // no merges: every byte is a token
    let words = |text| pretokens(text).map(|word| bytes.encode(word));
    let merges = naive_bpe::train(words(text).collect(), n_merges, 261);
    let bpe = Bpe::train(text, 261 + n_merges);
    assert_eq!(bpe.merges(), merges, "{text:?}");
    for text in [text, other] {
        let ids: Vec<u32> =
            words(text).flat_map(|word| naive_bpe::encode(word, &merges, 261)).collect();
        assert_eq!(bpe.encode(text), ids, "{text:?}");
    }
}

/// Random text: few letters, so that pairs repeat, characters of several bytes, all kinds of white
/// space, and names of special tokens.
fn any_text() -> impl Strategy<Value = String> {
    let two_letters = "[ab]{0,40}";
    let mixed = "([a-c '0-1\n]|é|न|म|😀|\u{a0}|\u{3000}|²|'ll|</s>|<mask>| the| then){0,60}";
    prop_oneof![two_letters, mixed, any::<String>()]
}

proptest! {
    #[test]
    fn bpe_agrees_with_the_crate_tokenizers_on_any_text(
        text in any_text(), other in any_text(), n_merges in 0usize..40,
    ) {
        assert_agrees(&text, &other, 261 + n_merges).unwrap();
    }

    #[test]
    fn bpe_agrees_with_its_naive_form_on_any_text(
        text in any_text(), other in any_text(), n_merges in 0usize..40,
    ) {
        assert_agrees_with_naive_bpe(&text, &other, n_merges);
    }

    #[test]
    fn decoding_inverts_encoding_for_any_text(corpus in any_text(), text in any_text()) {
        let bpe = Bpe::train(&corpus, 300);
        prop_assert_eq!(bpe.decode(&bpe.encode(&text)), &*text);
        prop_assert_eq!(bpe.decode(&bpe.encode_with_special(&text)), &*text);
        prop_assert_eq!(pretokens(&text).collect::<String>(), text);
    }

    #[test]
    fn decode_bytes_concatenates_the_bytes_of_known_ids(
        ids in proptest::collection::vec(0u32..400, 0..50),
    ) {
        let bpe = Bpe::train("the cat sat on the mat, the cat sat", 300);
        let tokens = ids.iter().filter_map(|&id| bpe.id_to_bytes(id));
        prop_assert_eq!(bpe.decode_bytes(&ids), tokens.collect::<Vec<_>>().concat());
    }
}

#[test]
fn bpe_agrees_with_its_naive_form_on_the_built_in_texts() {
    let beginning = |text: BuiltinText| text.text().chars().take(10_000).collect::<String>();
    let (english, hindi) = (beginning(BuiltinText::English), beginning(BuiltinText::Hindi));
    assert_agrees_with_naive_bpe(&english, &hindi, 200);
    assert_agrees_with_naive_bpe(&hindi, &english, 100_000);
}

/// Worked by hand, in the header of `naive_bpe.rs`; a = 0, b = 1, c = 2, d = 3.
#[test]
fn naive_bpe_matches_the_worked_example() {
    let word = vec![0, 0, 0, 1, 3, 0, 0, 0, 1, 0, 2];
    let merges = naive_bpe::train(vec![word.clone()], 100, 4);
    assert_eq!(merges, [(0, 0), (0, 1), (4, 5)], "Z = aa is 4, Y = ab is 5, X = ZY is 6");
    assert_eq!(naive_bpe::encode(word, &merges, 4), [6, 3, 6, 0, 2]);
}

#[test]
fn bpe_agrees_with_the_crate_tokenizers_on_the_built_in_texts() -> Result<()> {
    let (english, hindi) = (BuiltinText::English.text(), BuiltinText::Hindi.text());
    assert_agrees(english, hindi, 700)?;
    assert_agrees(hindi, english, 100_000)
}

#[test]
fn bpe_agrees_with_the_crate_tokenizers_on_tinystories() -> Result<()> {
    let Some(file) = course_data("data/tinystories-2m.txt") else { return Ok(()) };
    assert_agrees(&std::fs::read_to_string(file)?, BuiltinText::Hindi.text(), 2048)
}

/// Worked by hand: `a b` occurs three times in `abcab abd`, every other pair once.
#[test]
fn the_most_frequent_pair_is_merged_first() {
    let bpe = Bpe::train("abcab abd", 1000);
    assert_eq!(bpe.to_merges(), "a b\n");
    assert_eq!(bpe.vocab_size(), 262);
    assert_eq!(bpe.id_to_bytes(261), Some(&b"ab"[..]));
    let c = bpe.encode("c")[0];
    assert_eq!(bpe.encode("abcab"), [261, c, 261]);
}

#[test]
fn training_stops_when_no_pair_is_left_to_merge() {
    assert_eq!(Bpe::train("", 8000).vocab_size(), 261);
    assert_eq!(Bpe::train("hello hello world", 261).vocab_size(), 261);
    let bpe = Bpe::train("hello hello world", 8000);
    assert!(bpe.vocab_size() < 280);
    assert_eq!(bpe.merges().len(), bpe.vocab_size() - 261);
}

#[test]
fn ids_are_special_tokens_then_bytes_in_the_order_of_gpt2_files() {
    let bpe = Bpe::train("", 261);
    for (id, name) in SPECIAL_TOKENS.iter().enumerate() {
        assert_eq!(bpe.id_to_bytes(id as u32), Some(name.as_bytes()));
    }
    assert_eq!(bpe.decode(&[5, 6, 5 + 93, 5 + 94]), "!\"~\u{fffd}"); // printable ASCII, then ¡
    // The soft hyphen, which is not printable, is the last byte.
    assert_eq!(bpe.id_to_bytes(260), Some(&[0xAD][..]));
}

#[test]
fn special_tokens_in_a_text_are_parsed_only_on_request() {
    let text = "<s>once</s> <mask></s";
    let bpe = Bpe::train(&"<s> </s> <pad> <unk> <mask> ".repeat(50), 400);
    let plain = bpe.encode(text);
    assert!(plain.iter().all(|&id| id >= 5), "{plain:?}");
    let parsed = bpe.encode_with_special(text);
    assert_eq!(parsed.iter().filter(|&&id| id < 5).collect::<Vec<_>>(), [&0, &1, &4]);
    assert_eq!(bpe.decode(&parsed), text);
}

#[test]
fn half_a_character_decodes_to_a_replacement_character() {
    let bpe = Bpe::train("", 261);
    let ids = bpe.encode("é");
    assert_eq!(bpe.decode(&ids[..1]), "\u{fffd}");
    assert_eq!(bpe.decode_bytes(&ids[..1]), ["é".as_bytes()[0]]);
    assert_eq!(bpe.decode(&[100_000]), "");
}

#[test]
fn a_pretoken_is_a_word_with_the_space_before_it() {
    let split = |text| pretokens(text).collect::<Vec<&str>>();
    assert_eq!(split("It's 3 o'clock."), ["It", "'s", " 3", " o", "'", "clock", "."]);
    assert_eq!(split("a   b"), ["a", "  ", " b"]);
    assert_eq!(split("a\n\n\nb\n"), ["a", "\n\n", "\n", "b", "\n"]);
    assert_eq!(split("  "), ["  "]);
    assert_eq!(split(""), [""; 0]);
}

#[test]
fn a_word_of_200_kb_is_trained_and_encoded_in_bounded_time() {
    let text = "ab".repeat(100_000) + &" ".repeat(100_000);
    let bpe = Bpe::train(&text, 300);
    assert_eq!(bpe.decode(&bpe.encode(&text)), text);
}
