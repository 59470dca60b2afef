//! Invalid `tokenizer.json` files on which the tokenizers library would panic.

use serde_json::{Value, json};

use super::folder::folder;
use super::load_and_generate;

/// Small `tokenizer.json` with one component of each kind.
pub(super) fn json() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": { "type": "NFC" },
        "added_tokens": [{
            "id": 2, "content": "</s>", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false
        }],
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": r"\p{N}{1,3}|\s+(?!\S)|\s+" },
              "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
              "use_regex": true },
        ] },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "</s>", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
            ],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [2], "tokens": ["</s>"] } },
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
        },
        "model": {
            "type": "BPE", "byte_fallback": false, "fuse_unk": false, "unk_token": null,
            "dropout": null,
            "vocab": { "a": 0, "b": 1, "</s>": 2, "ab": 3, "Ġ": 4, "Ġa": 5 },
            "merges": [["a", "b"], ["Ġ", "a"]],
        },
    })
}

/// The model of [`json`] with these merges and prefix of the tokens within a word.
fn bpe(merges: &Value, prefix: &str) -> Value {
    let mut model = json()["model"].take();
    (model["merges"], model["continuing_subword_prefix"]) = (merges.clone(), json!(prefix));
    model
}

/// The tokenizers library does not check these files; it panics on them, in part only when it
/// encodes a text.
#[test]
fn tokenizers_on_which_the_library_panics_are_rejected() {
    for (key, value, reason) in [
        (
            "normalizer",
            json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" }),
            "`Precompiled`",
        ),
        ("pre_tokenizer", json!({ "type": "FixedLength", "length": 0 }), "length 0"),
        (
            "post_processor",
            json!({
                "type": "TemplateProcessing", "pair": [], "special_tokens": {},
                "single": [{ "SpecialToken": { "id": "<x>", "type_id": 0 } }],
            }),
            "`<x>`, which it does not define",
        ),
        (
            "post_processor",
            json!({
                "type": "TemplateProcessing", "pair": [], "special_tokens": {},
                "single": [{ "Sequence": { "id": "B", "type_id": 0 } }],
            }),
            "refers to a second text",
        ),
        ("model", bpe(&json!([["</s>", "a"]]), ""), "does not give a token of the vocabulary"),
        ("model", bpe(&json!(["a b"]), "llama"), "does not give a token of the vocabulary"),
    ] {
        let folder = folder("llama");
        let path = folder.path().join("tokenizer.json");
        let mut json: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        json[key] = value;
        std::fs::write(&path, json.to_string()).expect("a file");
        let error = load_and_generate(folder.path(), folder.path()).expect_err(reason);
        assert!(
            error.contains("tokenizer.json is not a valid tokenizer") && error.contains(reason),
            "{error}"
        );
    }
    let folder = folder("llama");
    let path = folder.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).expect("a file");
    let broken = text.replace(r#""decoder":{"type""#, r#""decoder":{"type"#);
    assert_ne!(broken, text);
    std::fs::write(&path, broken).expect("a file");
    let error = load_and_generate(folder.path(), folder.path()).expect_err("invalid JSON");
    assert!(error.contains("tokenizer.json is not a valid tokenizer"), "{error}");
}
