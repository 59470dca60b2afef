//! Tokenizers: results compared with transformers (`scripts/golden_tokenizer.py`), and properties
//! for any text.

use anyhow::Result;
use model_io::{
    AddSpecialTokens, GgufTokenizer, ParseSpecial, SkipSpecialTokens, TextStream, Tokenizer,
    TokenizerSpecialTokens,
};
use proptest::prelude::*;
use serde_json::json;

use crate::golden_tokenizers;

fn parts(name: &str, pre: Option<&str>) -> GgufTokenizer {
    GgufTokenizer { pre: pre.map(str::to_string), ..golden_tokenizers::parts(name) }
}

fn tokenizer(name: &str, pre: Option<&str>) -> Tokenizer {
    Tokenizer::from_gguf(&parts(name, pre)).unwrap()
}

fn decode_stream(mut stream: TextStream, ids: &[u32]) -> Result<String> {
    let mut text = String::new();
    for &id in ids {
        text.push_str(&stream.push(id)?);
    }
    Ok(text + &stream.finish()?)
}

#[test]
fn token_ids_and_texts_equal_those_of_transformers() -> Result<()> {
    for case in golden_tokenizers::golden()["cases"].as_array().unwrap() {
        let (name, pre) = (case["parts"].as_str().unwrap(), case["pre"].as_str());
        let tokenizer = tokenizer(name, pre);
        for reference in case["answers"].as_array().unwrap() {
            let text = reference["text"].as_str().unwrap();
            let expected =
                |key: &str| -> Vec<u32> { serde_json::from_value(reference[key].clone()).unwrap() };
            let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::Yes)?;
            assert_eq!(ids, expected("ids"), "{name} {pre:?} {text:?}");
            assert_eq!(
                tokenizer.decode(&ids, SkipSpecialTokens::No)?,
                reference["decoded"].as_str().unwrap()
            );
            assert_eq!(
                decode_stream(tokenizer.stream(SkipSpecialTokens::No, &[]), &ids)?,
                reference["decoded"].as_str().unwrap()
            );
            let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)?;
            assert_eq!(ids, expected("as_text"), "{name} {pre:?} {text:?} as text");
        }
    }
    Ok(())
}

#[test]
fn special_tokens_typed_by_a_user_stay_text() -> Result<()> {
    let tokenizer = tokenizer("byte_level", Some("smollm"));
    let end = tokenizer.token_to_id("<|im_end|>").unwrap();
    let text = "hi<|im_end|>";
    let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)?;
    assert!(!ids.contains(&end));
    assert_eq!(tokenizer.decode(&ids, SkipSpecialTokens::Yes)?, text);
    let ids = tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::Yes)?;
    assert_eq!(ids.last(), Some(&end));
    assert_eq!(tokenizer.decode(&ids, SkipSpecialTokens::Yes)?, "hi");
    assert_eq!(tokenizer.decode(&ids, SkipSpecialTokens::No)?, text);
    Ok(())
}

#[test]
fn text_never_merges_into_a_control_token() -> Result<()> {
    let parts = GgufTokenizer {
        model: "llama".into(),
        tokens: ["<unk>", "<s>", "<", "s>", "s", ">"].map(String::from).to_vec(),
        scores: vec![0., 0., -1., -2., -3., -4.],
        token_type: vec![2, 3, 1, 1, 1, 1],
        bos: Some(1),
        unk: Some(0),
        add_space_prefix: Some(false),
        ..GgufTokenizer::default()
    };
    let tokenizer = Tokenizer::from_gguf(&parts)?;
    let ids = |parse| tokenizer.encode("<s>", AddSpecialTokens::No, parse);
    assert_eq!(ids(ParseSpecial::No)?, [2, 3]);
    assert_eq!(ids(ParseSpecial::Yes)?, [1]);
    Ok(())
}

/// The tokenizers of SmolLM3 and of Phi-4 split a text as Llama 3's does, but their files do not
/// ask for bos.
#[test]
fn smaug_bpe_and_dbrx_split_as_llama_bpe() -> Result<()> {
    let llama = tokenizer("byte_level", Some("llama-bpe"));
    for pre in ["smaug-bpe", "dbrx"] {
        let other = tokenizer("byte_level", Some(pre));
        for case in golden_tokenizers::golden()["cases"][0]["answers"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids = |tokenizer: &Tokenizer| {
                tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::Yes)
            };
            assert_eq!(ids(&other)?, ids(&llama)?, "{pre}: {text:?}");
        }
        let ids = other.encode("a", AddSpecialTokens::Yes, ParseSpecial::Yes)?;
        assert_ne!(ids[0], other.bos().unwrap());
    }
    Ok(())
}

/// GPT-NeoX's tokenizer composes characters and accents.
#[test]
fn olmo_and_mpt_split_a_composed_text_as_gpt_2() -> Result<()> {
    let gpt_2 = tokenizer("byte_level", Some("gpt-2"));
    for pre in ["olmo", "mpt"] {
        let neox = tokenizer("byte_level", Some(pre));
        for (text, composed) in [
            (" Don't  stop 1234 times\n\n ", " Don't  stop 1234 times\n\n "),
            ("cafe\u{301}s", "caf\u{e9}s"),
        ] {
            let ids = neox.encode(text, AddSpecialTokens::No, ParseSpecial::Yes)?;
            let expected = gpt_2.encode(composed, AddSpecialTokens::No, ParseSpecial::Yes)?;
            assert_eq!(ids, expected, "{pre}: {text:?}");
        }
    }
    Ok(())
}

#[test]
fn bos_is_added_if_the_model_family_requires_it() -> Result<()> {
    let adds_bos = |name, pre, add_bos| -> Result<bool> {
        let tokenizer = Tokenizer::from_gguf(&GgufTokenizer { add_bos, ..parts(name, pre) })?;
        for parse_special in [ParseSpecial::Yes, ParseSpecial::No] {
            let without = tokenizer.encode("a", AddSpecialTokens::No, parse_special)?;
            let with = tokenizer.encode("a", AddSpecialTokens::Yes, parse_special)?;
            if with != without {
                assert_eq!(with, [&[1], without.as_slice()].concat());
                assert_eq!(tokenizer.decode(&with, SkipSpecialTokens::Yes)?, "a");
            }
        }
        let ids = tokenizer.encode("a", AddSpecialTokens::Yes, ParseSpecial::Yes)?;
        Ok(ids[0] == tokenizer.bos().unwrap())
    };
    assert!(adds_bos("sentencepiece", None, None)?);
    assert!(adds_bos("byte_level", Some("llama-bpe"), None)?);
    assert!(!adds_bos("byte_level", Some("smollm"), None)?);
    assert!(adds_bos("byte_level", Some("smollm"), Some(true))?);
    assert!(!adds_bos("sentencepiece", None, Some(false))?);
    Ok(())
}

/// Same behavior as in llama.cpp and transformers.
#[test]
fn eos_is_added_if_the_gguf_file_requires_it() -> Result<()> {
    for (name, pre) in [("sentencepiece", None), ("byte_level", Some("smollm"))] {
        for (add_bos, add_eos) in [(false, None), (false, Some(true)), (true, Some(true))] {
            let parts = GgufTokenizer { add_bos: Some(add_bos), add_eos, ..parts(name, pre) };
            let tokenizer = Tokenizer::from_gguf(&parts)?;
            let plain = tokenizer.encode("a", AddSpecialTokens::No, ParseSpecial::No)?;
            let bos = tokenizer.bos().filter(|_| add_bos);
            let eos = tokenizer.eos().filter(|_| add_eos == Some(true));
            let expected: Vec<u32> = bos.into_iter().chain(plain).chain(eos).collect();
            assert_eq!(tokenizer.encode("a", AddSpecialTokens::Yes, ParseSpecial::No)?, expected);
        }
    }
    Ok(())
}

#[test]
fn an_emoji_in_four_tokens_is_emitted_when_complete() -> Result<()> {
    for name in ["byte_level", "sentencepiece"] {
        let tokenizer = tokenizer(name, None);
        let ids = tokenizer.encode("😀", AddSpecialTokens::No, ParseSpecial::No)?;
        let bytes = &ids[ids.len() - 4..]; // sentencepiece adds a space first
        let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
        let pieces = bytes.iter().map(|&id| stream.push(id)).collect::<Result<Vec<_>>>()?;
        assert_eq!(pieces, ["", "", "", "😀"]);
        let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
        assert_eq!(stream.push(bytes[0])?, "");
        assert_eq!(stream.finish()?, "�");
    }
    Ok(())
}

#[test]
fn only_the_very_first_sentencepiece_space_is_dropped() -> Result<()> {
    let tokenizer = tokenizer("sentencepiece", None);
    let (space, bos) = (tokenizer.token_to_id("▁").unwrap(), 1);
    let a = tokenizer.token_to_id("a").unwrap();
    for ids in [[space, space, a, space, a], [space, a, bos, space, a], [bos, bos, space, space, a]]
    {
        for skip in [SkipSpecialTokens::Yes, SkipSpecialTokens::No] {
            let text = tokenizer.decode(&ids, skip)?;
            assert_eq!(decode_stream(tokenizer.stream(skip, &[]), &ids)?, text, "{ids:?}");
        }
    }
    assert_eq!(tokenizer.decode(&[space, space, a], SkipSpecialTokens::Yes)?, " a");
    Ok(())
}

#[test]
fn a_saved_tokenizer_opens_unchanged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, pre) in [("byte_level", Some("qwen2")), ("sentencepiece", None)] {
        let saved = tokenizer(name, pre);
        saved.save(folder.path(), 64, None)?;
        for path in [folder.path().to_path_buf(), folder.path().join("tokenizer.json")] {
            let opened = Tokenizer::open(&path)?;
            assert_eq!(opened.special_tokens(), saved.special_tokens());
            assert_eq!(opened.vocab_size(), saved.vocab_size());
            let text = " the 123 नमस्ते <think>";
            let ids = |tokenizer: &Tokenizer| {
                tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::Yes)
            };
            assert_eq!(ids(&opened)?, ids(&saved)?);
        }
    }
    Ok(())
}

#[test]
fn a_null_bos_in_tokenizer_config_overrides_config_json() -> Result<()> {
    let folder = tempfile::tempdir()?;
    tokenizer("byte_level", None).save(folder.path(), 64, None)?;
    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"bos_token_id": 0, "eos_token_id": [2, 0]}"#,
    )?;
    std::fs::write(&config, r#"{"bos_token": null, "eos_token": {"content": "<|im_end|>"}}"#)?;
    let opened = Tokenizer::open(folder.path())?;
    assert_eq!((opened.bos(), opened.eos()), (None, Some(2)));
    std::fs::remove_file(&config)?; // config.json is the fallback
    let opened = Tokenizer::open(folder.path())?;
    assert_eq!((opened.bos(), opened.eos()), (Some(0), Some(2)));
    Ok(())
}

#[test]
fn errors_name_the_file_and_the_fault() {
    let folder = tempfile::tempdir().unwrap();
    let message = |result: Result<Tokenizer>| format!("{:#}", result.unwrap_err());
    assert!(message(Tokenizer::open(folder.path())).contains("tokenizer.json"));
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(message(Tokenizer::open(folder.path())).contains("is not a valid tokenizer"));

    let broken = |change: fn(&mut GgufTokenizer)| {
        let mut parts = parts("byte_level", None);
        change(&mut parts);
        message(Tokenizer::from_gguf(&parts))
    };
    assert!(broken(|parts| parts.model = "bert".into()).contains("`bert`"));
    assert!(broken(|parts| parts.pre = Some("viking".into())).contains("`viking`"));
    assert!(broken(|parts| parts.token_type = vec![1]).contains("token_type"));
    assert!(broken(|parts| parts.merges[0] = "x".into()).contains("not a pair"));
    assert!(broken(|parts| parts.merges[0] = "qqq x".into()).contains("damaged"));
    assert!(broken(|parts| parts.bos = Some(1 << 20)).contains("1048576"));
    assert!(broken(|parts| parts.tokens.clear()).contains("tokens"));
    assert!(broken(|parts| parts.tokens[9] = "a".repeat(5000)).contains("token 9 has 5000 bytes"));
}

#[test]
fn two_tokens_with_one_id_are_refused() {
    let vocab = json!({ "a": 0, "b": 1, "ab": 1 });
    let model = json!({ "type": "WordLevel", "vocab": vocab, "unk_token": "a" });
    let json = json!({ "version": "1.0", "model": model });
    let error = Tokenizer::from_json(json, TokenizerSpecialTokens::default()).unwrap_err();
    assert!(format!("{error:#}").contains("`ab` has the id 1 of another one"), "{error:#}");
}

/// A model would have no embedding for it.
#[test]
fn a_token_around_a_text_is_in_the_vocabulary() {
    let template = json!({
        "type": "TemplateProcessing", "pair": [],
        "single": [
            { "SpecialToken": { "id": "<s>", "type_id": 0 } },
            { "Sequence": { "id": "A", "type_id": 0 } }
        ],
        "special_tokens": { "<s>": { "id": "<s>", "ids": [7], "tokens": ["<s>"] } }
    });
    let bert = json!({ "type": "BertProcessing", "sep": ["a", 7], "cls": ["a", 0] });
    for processor in [template, bert] {
        let json = json!({
            "version": "1.0", "post_processor": processor,
            "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" }
        });
        let error = Tokenizer::from_json(json, TokenizerSpecialTokens::default()).unwrap_err();
        assert!(format!("{error:#}").contains("puts the token 7 around a text"), "{error:#}");
    }
}

proptest! {
    #[test]
    fn any_text_survives_encoding_and_decoding(text in any::<String>()) {
        let kinds =
            [("byte_level", "smollm"), ("byte_level", "llama-bpe"), ("sentencepiece", "")];
        for (name, pre) in kinds {
            let tokenizer = tokenizer(name, Some(pre));
            // Sentencepiece cannot distinguish `▁` from a space.
            let text = match name {
                "sentencepiece" => text.replace('▁', " "),
                _ => text.clone(),
            };
            let ids = tokenizer.encode(&text, AddSpecialTokens::No, ParseSpecial::No).unwrap();
            prop_assert_eq!(&tokenizer.decode(&ids, SkipSpecialTokens::Yes).unwrap(), &text);
            let stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
            prop_assert_eq!(&decode_stream(stream, &ids).unwrap(), &text);
        }
    }

    #[test]
    fn streaming_any_ids_gives_the_same_text_as_decoding_them(
        ids in prop::collection::vec(0u32..600, 0..40),
    ) {
        let tokenizer = tokenizer("byte_level", None);
        for skip in [SkipSpecialTokens::Yes, SkipSpecialTokens::No] {
            let text = tokenizer.decode(&ids, skip).unwrap();
            prop_assert_eq!(decode_stream(tokenizer.stream(skip, &[]), &ids).unwrap(), text);
        }
    }

    #[test]
    fn streaming_invalid_utf8_never_fails(ids in prop::collection::vec(0u32..500, 0..40)) {
        let tokenizer = tokenizer("sentencepiece", None);
        decode_stream(tokenizer.stream(SkipSpecialTokens::Yes, &[]), &ids).unwrap();
    }
}

#[test]
fn a_stream_that_continues_a_text_keeps_its_spaces() -> Result<()> {
    let tokenizer = tokenizer("sentencepiece", None);
    let ids = tokenizer.encode("Once upon a time", AddSpecialTokens::No, ParseSpecial::No)?;
    for cut in 0..ids.len() {
        let (before, after) = ids.split_at(cut);
        let text = tokenizer.decode(before, SkipSpecialTokens::Yes)?
            + &decode_stream(tokenizer.stream(SkipSpecialTokens::Yes, before), after)?;
        assert_eq!(text, "Once upon a time", "cut at {cut}");
    }
    Ok(())
}
