//! Checks of a `tokenizer.json` that the tokenizers library omits and without which it panics.

use anyhow::{Result, ensure};
use serde_json::Value;

/// Tokenizer from the contents of a `tokenizer.json`.
///
/// # Errors
/// When the JSON is not a valid tokenizer, or one that could not encode a text.
pub(crate) fn tokenizer_from_json(json: Value) -> Result<tokenizers::Tokenizer> {
    check_json(&json)?;
    Ok(serde_json::from_value(json)?)
}

/// Rejects files on which the library would panic.
fn check_json(json: &Value) -> Result<()> {
    // A binary table that the library follows unchecked. Supported families do not use it.
    let mut normalizers = objects(&json["normalizer"]).into_iter();
    ensure!(
        !normalizers.any(|object| object["type"] == "Precompiled"),
        "a `Precompiled` normalizer is not supported"
    );
    let mut pre_tokenizers = objects(&json["pre_tokenizer"]).into_iter();
    ensure!(
        !pre_tokenizers.any(|object| object["type"] == "FixedLength" && object["length"] == 0),
        "the `FixedLength` pre-tokenizer has length 0"
    );
    for processor in objects(&json["post_processor"]) {
        for piece in processor["single"].as_array().into_iter().flatten() {
            if let Some(name) = piece["SpecialToken"]["id"].as_str() {
                let defined = processor["special_tokens"].get(name).is_some();
                ensure!(
                    defined,
                    "its template uses the special token `{name}`, which it does not define"
                );
            }
            let is_second = piece["Sequence"]["id"] == "B";
            ensure!(!is_second, "its template for a single text refers to a second text");
        }
    }
    Ok(())
}

/// All objects nested in `json`, including `json` itself.
fn objects(json: &Value) -> Vec<&Value> {
    let inner: Vec<&Value> = match json {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    let own = json.is_object().then_some(json);
    own.into_iter().chain(inner.into_iter().flat_map(objects)).collect()
}
