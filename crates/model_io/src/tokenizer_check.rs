//! Checks of a `tokenizer.json` that the tokenizers library omits and without which it panics.

use anyhow::{Result, ensure};
use serde_json::Value;

/// Limit of token IDs. Real vocabularies have up to 2^18 tokens; an ID sizes tables.
const MAX_VOCAB: u64 = 1 << 24;

/// Limit of the factor by which all normalizers together make a text longer. Those of real models
/// reach about 70.
const MAX_GROWTH: f64 = 1000.;

/// Tokenizer from the contents of a `tokenizer.json`.
///
/// # Errors
/// When the JSON is not a valid tokenizer, or one that could not encode a text.
pub(crate) fn tokenizer_from_json(mut json: Value) -> Result<tokenizers::Tokenizer> {
    check_json(&json)?;
    take_bpe_dropout(&mut json);
    Ok(serde_json::from_value(json)?)
}

/// Removes and returns the [BPE dropout](https://arxiv.org/abs/1910.13267) of a `tokenizer.json`,
/// with which a text would have other tokens each time. Some trainers store it; transformers
/// leaves it on.
pub(crate) fn take_bpe_dropout(json: &mut Value) -> Option<f64> {
    let dropout = json.get_mut("model")?.get_mut("dropout")?.take();
    dropout.as_f64().filter(|&dropout| dropout > 0.)
}

/// Rejects files on which the library would panic.
fn check_json(json: &Value) -> Result<()> {
    // A binary table that the library follows unchecked. Supported families do not use it.
    let mut normalizers = objects(&json["normalizer"]).into_iter();
    ensure!(
        !normalizers.any(|object| object["type"] == "Precompiled"),
        "a `Precompiled` normalizer is not supported"
    );
    for part in ["normalizer", "decoder"] {
        let growth: f64 = objects(&json[part]).into_iter().map(growth).product();
        ensure!(
            growth <= MAX_GROWTH,
            "its {part} may make a text {growth:.0} times as long; the limit is {MAX_GROWTH}"
        );
    }
    let mut pre_tokenizers = objects(&json["pre_tokenizer"]).into_iter();
    ensure!(
        !pre_tokenizers.any(|object| object["type"] == "FixedLength" && object["length"] == 0),
        "the `FixedLength` pre-tokenizer has length 0"
    );
    let added = json["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    let vocab = json["model"]["vocab"].as_object().into_iter().flat_map(|vocab| vocab.values());
    if let Some(id) = added.chain(vocab).filter_map(Value::as_u64).max() {
        ensure!(id < MAX_VOCAB, "it has a token with the id {id}, beyond the limit of {MAX_VOCAB}");
    }
    check_merges(&json["model"])?;
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

/// Rejects merges whose two tokens the library would join beyond the longest token.
fn check_merges(model: &Value) -> Result<()> {
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    let tokens = model["vocab"].as_object().into_iter().flat_map(|vocab| vocab.keys());
    let longest = tokens.map(String::len).max().unwrap_or(0);
    for merge in model["merges"].as_array().into_iter().flatten() {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            _ => merge[0].as_str().zip(merge[1].as_str()),
        };
        let Some((left, right)) = pair else { continue }; // the library rejects it
        let joined_len = right.strip_prefix(prefix).map(|right| left.len() + right.len());
        ensure!(
            joined_len.is_some_and(|len| len <= longest),
            "the merge {merge} does not give a token of the vocabulary"
        );
    }
    Ok(())
}

/// Bound of the factor by which a normalizer or decoder makes a text longer, in bytes. A sequence
/// of 60 that double a text would need all memory.
fn growth(step: &Value) -> f64 {
    match step["type"].as_str().unwrap_or_default() {
        "Replace" => {
            let content = step["content"].as_str().unwrap_or_default().len() as f64;
            match step["pattern"]["String"].as_str().map(str::len) {
                Some(pattern) if pattern > 0 => (content / pattern as f64).max(1.),
                _ => 1. + content, // a regex may match between any two characters
            }
        }
        "NFKC" | "NFKD" => 11., // U+FDFA: 3 bytes become 33
        "NFC" | "NFD" | "Lowercase" | "Nmt" | "BertNormalizer" => 3.,
        "ByteLevel" => 2.,
        _ => 1.,
    }
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
