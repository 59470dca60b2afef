//! 4.1: GPT-2's tokenizer, loaded from its merges, gives the ids of transformers
//! (`scripts/golden_gpt2_tokens.py`).

use anyhow::Result;
use proptest::prelude::*;
use serde_json::Value;
use tensor_core::testing::course_data;

use crate::Bpe;

fn gpt2() -> Result<Option<Bpe>> {
    let Some(file) = course_data("data/gpt2-merges.txt") else { return Ok(None) };
    Bpe::from_merges(&std::fs::read_to_string(file)?, &["<|endoftext|>"]).map(Some)
}

#[test]
fn gpt2_merges_give_the_gpt2_vocabulary() -> Result<()> {
    let (Some(bpe), Some(file)) = (gpt2()?, course_data("data/gpt2-encoder.json")) else {
        return Ok(());
    };
    let vocabulary: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    assert_eq!(bpe.vocab_size(), 50257);
    assert_eq!(vocabulary.as_object().unwrap().len(), 50257);
    for id in 0..50257 {
        let token = bpe.id_to_token(id).unwrap();
        assert_eq!(vocabulary[&token], id, "{token}");
    }
    Ok(())
}

#[test]
fn gpt2_merges_give_the_gpt2_ids() -> Result<()> {
    let Some(bpe) = gpt2()? else { return Ok(()) };
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/gpt2_tokens.json"))?;
    for case in golden["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone())?;
        assert_eq!(bpe.encode_with_special(text), ids, "{text:?}");
        assert_eq!(bpe.decode(&ids), text);
    }
    assert_eq!(bpe.encode("Hello, world!"), [15496, 11, 995, 0]); // from OpenAI's tokenizer page
    assert_eq!(bpe.encode("<|endoftext|>"), [27, 91, 437, 1659, 5239, 91, 29]);
    assert_eq!(bpe.encode_with_special("<|endoftext|>"), [50256]);
    Ok(())
}

#[test]
fn a_damaged_merge_is_reported_with_its_line() {
    for (file, message) in [
        ("a b\nc", "line 2: `c` is not a pair of known tokens"),
        ("#version: 0.2\na b\nab xy\n", "line 3: `ab xy` is not a pair of known tokens"),
    ] {
        assert_eq!(Bpe::from_merges(file, &[]).unwrap_err().to_string(), message);
    }
}

proptest! {
    #[test]
    fn merges_read_back_as_they_were_written(text in "[a-d न]{0,200}") {
        let merges = Bpe::train(&text, 300).to_merges();
        prop_assert_eq!(Bpe::from_merges(&merges, &[]).unwrap().to_merges(), merges);
    }
}
