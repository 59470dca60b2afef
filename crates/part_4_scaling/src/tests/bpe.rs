//! 4.1 against the crate `tokenizers`, and what holds for any text.

use anyhow::Result;
use proptest::prelude::*;
use serde_json::Value;
use tensor_core::testing::course_data;
use tiny_gpt::builtin_text::BuiltinText;

use crate::Bpe;
use crate::bpe::SPECIAL_TOKENS;
use crate::pretokenizer::pretokens;
use crate::tokenizer_training::train_hf_tokenizer;

/// Asserts that `tokenizers` learns the same tokens and merges from `text`, and makes the same ids of it and of `other`.
fn agrees(text: &str, other: &str, vocab_size: usize) -> Result<()> {
    let ours = Bpe::train(text, vocab_size);
    let theirs = train_hf_tokenizer([text].into_iter(), vocab_size)?;
    assert_eq!(ours.vocab_size(), theirs.get_vocab_size(true), "{text:?}");
    for id in 5..ours.vocab_size() as u32 {
        assert_eq!(ours.id_to_token(id), theirs.id_to_token(id), "token {id} of {text:?}");
    }
    let json = serde_json::to_value(&theirs)?;
    let merge =
        |pair: &Value| format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let merges: String = json["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    assert_eq!(ours.to_merges(), merges, "{text:?}");
    let mut theirs = theirs;
    theirs.set_encode_special_tokens(true);
    for text in [text, other] {
        let encoding = theirs.encode_fast(text, false).map_err(anyhow::Error::from_boxed)?;
        assert_eq!(ours.encode(text), encoding.get_ids(), "{text:?}");
    }
    Ok(())
}

/// Few letters, so that they repeat; some of several bytes, all kinds of space, and names of special tokens.
fn text() -> impl Strategy<Value = String> {
    let few = "[ab]{0,40}";
    let some = "([a-c '0-1\n]|é|न|म|😀|\u{a0}|\u{3000}|²|'ll|</s>|<mask>| the| then){0,60}";
    prop_oneof![few, some, any::<String>()]
}

proptest! {
    #[test]
    fn any_text_teaches_what_it_teaches_the_crate(text in text(), other in text(), merges in 0usize..40) {
        agrees(&text, &other, 261 + merges).unwrap();
    }

    #[test]
    fn any_text_comes_back_whatever_was_learned(learned in text(), text in text()) {
        let bpe = Bpe::train(&learned, 300);
        prop_assert_eq!(bpe.decode(&bpe.encode(&text)), &*text);
        prop_assert_eq!(bpe.decode(&bpe.encode_with_special(&text)), &*text);
        prop_assert_eq!(pretokens(&text).collect::<String>(), text);
    }

    #[test]
    fn ids_of_any_kind_give_their_bytes(ids in proptest::collection::vec(0u32..400, 0..50)) {
        let bpe = Bpe::train("the cat sat on the mat, the cat sat", 300);
        let tokens = ids.iter().filter_map(|&id| bpe.id_to_bytes(id));
        prop_assert_eq!(bpe.decode_bytes(&ids), tokens.collect::<Vec<_>>().concat());
    }
}

#[test]
fn the_built_in_texts_teach_what_they_teach_the_crate() -> Result<()> {
    let (english, hindi) = (BuiltinText::English.text(), BuiltinText::Hindi.text());
    agrees(english, hindi, 700)?;
    agrees(hindi, english, 100_000)
}

#[test]
fn tinystories_teach_what_they_teach_the_crate() -> Result<()> {
    let Some(file) = course_data("data/tinystories-2m.txt") else { return Ok(()) };
    agrees(&std::fs::read_to_string(file)?, BuiltinText::Hindi.text(), 2048)
}

/// By hand: `a b` stands three times in `abcab abd`, every other pair once.
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
fn the_vocabulary_stops_where_nothing_is_left_to_merge() {
    assert_eq!(Bpe::train("", 8000).vocab_size(), 261);
    assert_eq!(Bpe::train("hello hello world", 261).vocab_size(), 261);
    let bpe = Bpe::train("hello hello world", 8000);
    assert!(bpe.vocab_size() < 280);
    assert_eq!(bpe.merges().len(), bpe.vocab_size() - 261);
}

#[test]
fn special_tokens_come_first_then_the_bytes_as_files_order_them() {
    let bpe = Bpe::train("", 261);
    for (id, name) in SPECIAL_TOKENS.iter().enumerate() {
        assert_eq!(bpe.id_to_bytes(id as u32), Some(name.as_bytes()));
    }
    assert_eq!(bpe.decode(&[5, 6, 5 + 93, 5 + 94]), "!\"~\u{fffd}"); // letters that print, then from ¡ on
    assert_eq!(bpe.id_to_bytes(260), Some(&[0xAD][..])); // the soft hyphen, which does not print, is the last
}

#[test]
fn special_tokens_spelled_in_a_text_stay_text_unless_asked_for() {
    let text = "<s>once</s> <mask></s";
    let bpe = Bpe::train(&"<s> </s> <pad> <unk> <mask> ".repeat(50), 400);
    let plain = bpe.encode(text);
    assert!(plain.iter().all(|&id| id >= 5), "{plain:?}");
    let asked = bpe.encode_with_special(text);
    assert_eq!(asked.iter().filter(|&&id| id < 5).collect::<Vec<_>>(), [&0, &1, &4]);
    assert_eq!(bpe.decode(&asked), text);
}

#[test]
fn half_a_character_is_a_question_mark_and_its_bytes_are_kept() {
    let bpe = Bpe::train("", 261);
    let ids = bpe.encode("é");
    assert_eq!(bpe.decode(&ids[..1]), "\u{fffd}");
    assert_eq!(bpe.decode_bytes(&ids[..1]), ["é".as_bytes()[0]]);
    assert_eq!(bpe.decode(&[100_000]), "");
}

#[test]
fn words_take_the_space_before_them_along() {
    let cut = |text| pretokens(text).collect::<Vec<&str>>();
    assert_eq!(cut("It's 3 o'clock."), ["It", "'s", " 3", " o", "'", "clock", "."]);
    assert_eq!(cut("a   b"), ["a", "  ", " b"]);
    assert_eq!(cut("a\n\n\nb\n"), ["a", "\n\n", "\n", "b", "\n"]);
    assert_eq!(cut("  "), ["  "]);
    assert_eq!(cut(""), [""; 0]);
}

#[test]
fn one_endless_word_is_no_endless_work() {
    let text = "ab".repeat(100_000) + &" ".repeat(100_000);
    let bpe = Bpe::train(&text, 300);
    assert_eq!(bpe.decode(&bpe.encode(&text)), text);
}
