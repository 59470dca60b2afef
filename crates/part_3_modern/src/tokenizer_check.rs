//! What the tokenizers library believes of a `tokenizer.json` without looking, and panics at when it is not so.

use anyhow::{Result, ensure};
use serde_json::Value;

/// The tokenizer of a JSON.
///
/// # Errors
/// When it describes none, or one with which a text could not be read.
pub(crate) fn tokenizer_from_json(json: Value) -> Result<tokenizers::Tokenizer> {
    check_json(&json)?;
    Ok(serde_json::from_value(json)?)
}

/// Checks what the library does not.
fn check_json(json: &Value) -> Result<()> {
    // A table in bytes, which the library follows wherever it leads. No family of this part has one.
    let mut normalizers = objects(&json["normalizer"]).into_iter();
    ensure!(
        !normalizers.any(|object| object["type"] == "Precompiled"),
        "a `Precompiled` normalizer is not supported"
    );
    let mut pre_tokenizers = objects(&json["pre_tokenizer"]).into_iter();
    ensure!(
        !pre_tokenizers.any(|object| object["type"] == "FixedLength" && object["length"] == 0),
        "a text cannot be cut into pieces of length 0"
    );
    for processor in objects(&json["post_processor"]) {
        for piece in processor["single"].as_array().into_iter().flatten() {
            if let Some(name) = piece["SpecialToken"]["id"].as_str() {
                let known = processor["special_tokens"].get(name).is_some();
                ensure!(
                    known,
                    "its template has a special token `{name}`, which it does not define"
                );
            }
            let second = piece["Sequence"]["id"] == "B";
            ensure!(!second, "its template for a single text has a second one");
        }
    }
    Ok(())
}

/// All objects within `json`, itself included.
fn objects(json: &Value) -> Vec<&Value> {
    let inner: Vec<&Value> = match json {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    let own = json.is_object().then_some(json);
    own.into_iter().chain(inner.into_iter().flat_map(objects)).collect()
}
