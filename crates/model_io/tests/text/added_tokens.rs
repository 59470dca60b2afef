//! Folders with tokens outside `tokenizer.json`: results compared with transformers
//! (`scripts/golden_added_tokens.py`), and vocabularies with gaps.

use std::path::Path;

use anyhow::Result;
use model_io::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/added_tokens.json")).unwrap()
}

fn write(folder: &Path, name: &str, content: &Value) {
    std::fs::write(folder.join(name), content.to_string()).unwrap();
}

/// Folder with the golden `tokenizer.json` and these files.
fn folder(files: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer.json", &golden()["tokenizer.json"]);
    for (name, content) in files.as_object().unwrap() {
        write(folder.path(), name, content);
    }
    folder
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::Yes)
}

#[test]
fn markers_outside_tokenizer_json_are_tokens_as_in_transformers() -> Result<()> {
    let golden = golden();
    for case in golden["cases"].as_array().unwrap() {
        let name = &case["name"];
        let folder = folder(&case["files"]);
        for saved in [false, true] {
            let tokenizer = Tokenizer::open(folder.path())?;
            for (i, text) in golden["texts"].as_array().unwrap().iter().enumerate() {
                let ids = encode(&tokenizer, text.as_str().unwrap())?;
                assert_eq!(json!(ids), case["ids"][i], "{name}: {text}, saved: {saved}");
                let decoded = tokenizer.decode(&ids, SkipSpecialTokens::Yes)?;
                assert_eq!(decoded, case["decoded"][i], "{name}: {text}, saved: {saved}");
            }
            assert_eq!(json!(tokenizer.all_special_ids()), case["special"], "{name}");
            assert_eq!(json!(tokenizer.eos()), case["eos"], "{name}");
            tokenizer.save(folder.path(), 64, None)?; // over the older files
        }
    }
    Ok(())
}

#[test]
fn a_named_token_without_an_embedding_is_not_added() -> Result<()> {
    let n = golden()["tokenizer.json"]["model"]["vocab"].as_object().unwrap().len() + 2;
    let files = |vocab_size: usize| {
        json!({
            "tokenizer_config.json": { "eos_token": "</s>", "pad_token": "[PAD]" },
            "config.json": { "vocab_size": vocab_size },
        })
    };
    let tokenizer = Tokenizer::open(folder(&files(n)).path())?;
    assert_eq!((tokenizer.token_to_id("[PAD]"), tokenizer.special_tokens().pad), (None, None));
    let tokenizer = Tokenizer::open(folder(&files(n + 1)).path())?;
    assert_eq!(tokenizer.special_tokens().pad, Some(n as u32));
    Ok(())
}

/// Gemma 3's models that read text alone have a tokenizer with a token for images.
#[test]
fn an_image_token_without_an_embedding_is_left_out() -> Result<()> {
    let mut json = golden()["tokenizer.json"].clone();
    let n = json["model"]["vocab"].as_object().unwrap().len() + 2;
    let token = json!({
        "id": n, "content": "<image>", "special": true, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false
    });
    json["added_tokens"].as_array_mut().unwrap().push(token);
    let open = |names: Value, vocab_size: usize| {
        let files = json!({
            "tokenizer.json": json, "tokenizer_config.json": names,
            "config.json": { "vocab_size": vocab_size },
        });
        Tokenizer::open(folder(&files).path())
    };
    let names = json!({ "image_token": "<image>" });
    for names in [names.clone(), json!({ "extra_special_tokens": names })] {
        let without = open(names.clone(), n)?;
        assert_eq!((without.token_to_id("<image>"), without.vocab_size()), (None, n));
        assert!(encode(&without, "<image>")?.len() > 1, "it is text");
        assert_eq!(open(names, n + 1)?.token_to_id("<image>"), Some(n as u32));
    }
    // Any other token that the model does not know is an error when the model is opened.
    assert_eq!(open(json!({}), n)?.vocab_size(), n + 1);
    Ok(())
}

#[test]
fn the_vocabulary_size_is_the_highest_id_plus_1() -> Result<()> {
    let model = json!({ "type": "WordLevel", "vocab": { "a": 0, "b": 65_541 }, "unk_token": "a" });
    let json = json!({ "version": "1.0", "model": model });
    let tokenizer = Tokenizer::from_json(json.clone(), Default::default())?;
    assert_eq!(tokenizer.vocab_size(), 65_542);
    assert_eq!(encode(&tokenizer, "b")?, [65_541]);

    let folder = tempfile::tempdir()?;
    tokenizer.save(folder.path(), 64, None)?;
    assert_eq!(Tokenizer::open(folder.path())?.vocab_size(), 65_542);

    // The next id of such a vocabulary is the number of its tokens.
    let folder = tempfile::tempdir()?;
    let model = json!({ "type": "WordLevel", "vocab": { "a": 0, "b": 2 }, "unk_token": "a" });
    write(folder.path(), "tokenizer.json", &json!({ "version": "1.0", "model": model }));
    write(folder.path(), "tokenizer_config.json", &json!({ "eos_token": "<end>" }));
    let error = format!("{:#}", Tokenizer::open(folder.path()).unwrap_err());
    assert!(error.contains("`<end>` has no id") && error.contains("`b` has the next"), "{error}");
    Ok(())
}

#[test]
fn an_id_that_would_need_a_table_of_gigabytes_is_an_error() {
    for (vocab_id, added_id) in [(4_294_967_295_u64, 1), (1, 4_294_967_295_u64)] {
        let model = json!({ "type": "WordLevel", "vocab": { "a": vocab_id }, "unk_token": "a" });
        let added = json!({
            "id": added_id, "content": "<x>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false
        });
        let json = json!({ "version": "1.0", "model": model, "added_tokens": [added] });
        let error = Tokenizer::from_json(json, Default::default()).unwrap_err();
        assert!(format!("{error:#}").contains("4294967295"), "{error:#}");
    }
}

#[test]
fn bpe_dropout_is_switched_off() -> Result<()> {
    let mut json = golden()["tokenizer.json"].clone();
    let merges: Vec<_> = ["a b", "ab c", "abc d"].map(|merge| merge.to_string()).into();
    json["model"]["merges"] = json!(merges);
    for (i, merged) in ["ab", "abc", "abcd"].into_iter().enumerate() {
        json["model"]["vocab"][merged] = json!(300 + i);
    }
    json["model"]["dropout"] = json!(0.9);
    let folder = tempfile::tempdir()?;
    write(folder.path(), "tokenizer.json", &json);
    let opened = Tokenizer::open(folder.path())?;
    for tokenizer in [opened, Tokenizer::from_json(json, Default::default())?] {
        for _ in 0..20 {
            assert_eq!(encode(&tokenizer, "abcd")?, [302]);
        }
    }
    Ok(())
}

/// Error of the tokenizer whose `part` is `step`, or `n` of these steps.
fn steps(part: &str, step: &Value, n: usize) -> Result<Tokenizer> {
    let list = match part {
        "decoder" => "decoders",
        "pre_tokenizer" => "pretokenizers",
        _ => "normalizers",
    };
    let mut json = golden()["tokenizer.json"].clone();
    json[part] = json!({ "type": "Sequence", list: vec![step.clone(); n] });
    Tokenizer::from_json(json, Default::default())
}

#[test]
fn a_step_that_doubles_a_text_again_and_again_is_an_error() {
    let replace = json!({ "pattern": { "String": "a" }, "content": "aa" }); // without its type
    let typed = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aa" });
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
    });
    let ctc = json!({
        "type": "CTC", "pad_token": "b", "word_delimiter_token": "", "cleanup": true
    });
    for (part, step) in [
        ("normalizer", &replace),
        ("normalizer", &typed),
        ("decoder", &replace),
        ("decoder", &typed),
        ("normalizer", &json!({ "type": "ByteLevel" })),
        ("pre_tokenizer", &bytes),
        ("decoder", &json!({ "type": "BPEDecoder", "suffix": "" })),
        ("decoder", &ctc),
    ] {
        assert!(steps(part, step, 5).is_ok(), "{part}: {step}");
        let error = format!("{:#}", steps(part, step, 60).unwrap_err());
        assert!(error.contains(part) && error.contains("times as long"), "{error}");
    }
}

#[test]
fn word_piece_splits_no_word_of_any_length() {
    let tokenizer = |max_chars: u64| {
        let model = json!({
            "type": "WordPiece", "vocab": { "a": 0 }, "unk_token": "a",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": max_chars
        });
        let json = json!({ "version": "1.0", "model": model });
        Tokenizer::from_json(json, Default::default())
    };
    assert!(tokenizer(1000).is_ok());
    let error = format!("{:#}", tokenizer(1001).unwrap_err());
    assert!(error.contains("`max_input_chars_per_word` is 1001; the limit is 1000"), "{error}");
}

#[test]
fn regular_expressions_that_would_take_gigabytes_are_refused() {
    let split = |regex: &str| {
        let pattern = json!({ "Regex": regex });
        json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false })
    };
    for (part, regex, message) in [
        ("pre_tokenizer", r"\w{200}(?!x)", "have 60 repetitions of more than 10"),
        ("pre_tokenizer", r"\w{1,200}(?!x)", "have 60 repetitions of more than 10"),
        ("pre_tokenizer", "a".repeat(200).as_str(), "regular expressions have 12000 bytes"),
    ] {
        let error = format!("{:#}", steps(part, &split(regex), 60).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
    assert!(steps("pre_tokenizer", &split(r"\p{N}{1,3}(?!\S)"), 60).is_ok());
}

#[test]
fn steps_on_which_the_library_panics_are_refused_also_without_their_type() {
    for (part, step, expected) in [
        ("decoder", json!({ "content": " ", "start": 1, "stop": 1 }), "`Strip` decoder"),
        ("decoder", json!({ "type": "Strip", "content": " ", "start": 0, "stop": 1 }), "`Strip`"),
        ("pre_tokenizer", json!({ "length": 0 }), "has length 0"),
        ("normalizer", json!({ "precompiled_charsmap": "AAAA" }), "`Precompiled`"),
        ("normalizer", json!({ "type": "Precompiled" }), "`Precompiled`"),
        ("normalizer", json!({ "pattern": { "String": "" }, "content": "a" }), "the empty text"),
        ("normalizer", json!({ "pattern": { "Regex": "x*" }, "content": "a" }), "the empty text"),
        ("normalizer", json!({ "type": "Prepend", "prepend": "" }), "`Prepend`"),
    ] {
        let error = format!("{:#}", steps(part, &step, 1).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_template_that_multiplies_a_text_is_refused() {
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let token = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    for (single, ids, expected) in [
        (vec![&text; 99], vec![256], "repeats the text 99 times"),
        (vec![&token; 99], vec![256; 99], "adds 9801 tokens"),
    ] {
        let mut json = golden()["tokenizer.json"].clone();
        let spelled = vec!["</s>"; ids.len()];
        json["post_processor"] = json!({
            "type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": { "</s>": { "id": "</s>", "ids": ids, "tokens": spelled } }
        });
        let error = Tokenizer::from_json(json, Default::default()).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

#[cfg(unix)]
#[test]
fn a_model_file_that_is_a_link_to_a_device_is_an_error() -> Result<()> {
    use candle_core::Device;
    use model_io::{LoadMode, ModelFiles};

    fn open(path: &Path) -> Result<ModelFiles> {
        ModelFiles::open(&path.to_string_lossy(), LoadMode::Inference, &Device::Cpu)
    }
    let folder = tempfile::tempdir()?;
    for name in ["model.gguf", "model.bin", "config.json", "tokenizer.json"] {
        let path = folder.path().join(name);
        std::os::unix::fs::symlink("/dev/zero", &path)?;
        let error = match name {
            "tokenizer.json" => Tokenizer::open(folder.path()).map(drop),
            "config.json" => open(folder.path()).map(drop),
            _ => open(&path).map(drop),
        };
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(name) && error.contains("is a device"), "{error}");
    }
    Ok(())
}
