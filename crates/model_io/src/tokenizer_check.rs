//! Checks of a `tokenizer.json` that the tokenizers library omits and without which it panics.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokenizers::utils::SysRegex;

/// Limit of token IDs. Real vocabularies have up to 2^18 tokens; an ID sizes tables.
const MAX_VOCAB: u64 = 1 << 24;

/// Limit of the factor by which all steps of a part together make a text longer. Those of real
/// models reach about 70.
const MAX_GROWTH: f64 = 1000.;

/// Limit of the tokens that a template adds to a text; those of real models add one or two.
const MAX_TEMPLATE_IDS: usize = 1000;

/// Limit of the length of a word that WordPiece splits, 100 in real models: the time grows with its
/// cube.
const MAX_WORD_CHARS: u64 = 1000;

/// Limit of the regular expressions of all steps together, in bytes; those of real models have up
/// to two thousand.
const MAX_REGEX_BYTES: usize = 1 << 13;
/// Limit of their repetitions of more than [`SHORT_REPETITION`]. The library compiles a pattern in
/// parts, each of up to 10 MB, which `\w{200}` takes.
const MAX_LONG_REPETITIONS: usize = 16;
const SHORT_REPETITION: usize = 10;

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

/// Rejects files on which the library would panic, or take memory without bound. Steps are told by
/// their fields, since `type` may be missing.
fn check_json(json: &Value) -> Result<()> {
    // A binary table that the library follows unchecked. Supported families do not use it.
    for step in objects(&json["normalizer"]) {
        let is_precompiled =
            step.get("precompiled_charsmap").is_some() || step["type"] == "Precompiled";
        ensure!(!is_precompiled, "a `Precompiled` normalizer is not supported");
        ensure!(step["prepend"] != "", "the `Prepend` normalizer is empty");
    }
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        let growth: f64 = objects(&json[part]).into_iter().map(growth).product();
        ensure!(
            growth <= MAX_GROWTH,
            "its {part} may make a text {growth:.0} times as long; the limit is {MAX_GROWTH}"
        );
    }
    check_regexes(json)?;
    for step in objects(&json["normalizer"]) {
        // The library loses track of what is inserted where nothing is replaced.
        let inserts = step["content"] != "" && matches_empty_text(&step["pattern"]);
        ensure!(!inserts, "a `Replace` normalizer whose pattern matches the empty text");
    }
    let mut pre_tokenizers = objects(&json["pre_tokenizer"]).into_iter();
    ensure!(
        !pre_tokenizers.any(|step| step["length"] == 0),
        "the `FixedLength` pre-tokenizer has length 0"
    );
    let mut decoders = objects(&json["decoder"]).into_iter();
    ensure!(
        !decoders.any(|step| step["stop"].as_u64().is_some_and(|stop| stop > 0)),
        "a `Strip` decoder of the end of tokens is not supported"
    );
    let added = json["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    let vocab = json["model"]["vocab"].as_object().into_iter().flat_map(|vocab| vocab.values());
    if let Some(id) = added.chain(vocab).filter_map(Value::as_u64).max() {
        ensure!(id < MAX_VOCAB, "it has a token with the id {id}, beyond the limit of {MAX_VOCAB}");
    }
    let mut ids = HashSet::new();
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        // The library would write one of the two.
        ensure!(ids.insert(id.as_u64()), "its token `{token}` has the id {id} of another one");
    }
    let max_word = json["model"]["max_input_chars_per_word"].as_u64().unwrap_or(0);
    ensure!(
        max_word <= MAX_WORD_CHARS,
        "`max_input_chars_per_word` is {max_word}; the limit is {MAX_WORD_CHARS}"
    );
    check_merges(&json["model"])?;
    objects(&json["post_processor"]).into_iter().try_for_each(check_template)
}

/// Rejects regular expressions that would take gigabytes.
fn check_regexes(json: &Value) -> Result<()> {
    let steps = ["normalizer", "pre_tokenizer", "decoder"].map(|part| objects(&json[part]));
    let regexes = steps.iter().flatten().filter_map(|step| step["pattern"]["Regex"].as_str());
    let (mut n_bytes, mut n_long) = (0, 0);
    for regex in regexes {
        n_bytes += regex.len();
        let braces = regex.match_indices('{').map(|(at, _)| regex.split_at(at));
        // `\x{3040}` is a character.
        let braces = braces.filter(|(before, _)| !before.ends_with(['x', 'u', 'U']));
        let braces = braces.filter_map(|(_, after)| Some(after[1..].split_once('}')?.0));
        n_long += braces.filter(|count| is_long_repetition(count)).count();
    }
    ensure!(n_bytes <= MAX_REGEX_BYTES, "its regular expressions have {n_bytes} bytes");
    ensure!(
        n_long <= MAX_LONG_REPETITIONS,
        "its regular expressions have {n_long} repetitions of more than {SHORT_REPETITION}"
    );
    Ok(())
}

/// True if a pattern of `Replace` matches the empty text.
fn matches_empty_text(pattern: &Value) -> bool {
    let regex = pattern["Regex"].as_str().and_then(|regex| SysRegex::new(regex).ok());
    pattern["String"] == "" || regex.is_some_and(|regex| regex.find_iter("").next().is_some())
}

/// True for what stands in the braces of a long repetition: `200`, `1,200` or `200,`.
fn is_long_repetition(count: &str) -> bool {
    let mut numbers = count.split(',').map(|number| number.trim().parse::<usize>());
    numbers.any(|number| number.is_ok_and(|number| number > SHORT_REPETITION))
}

/// Rejects a template of a post-processor that uses what it does not have, or repeats the text.
fn check_template(processor: &Value) -> Result<()> {
    let (mut n_ids, mut n_texts) = (0, 0);
    for piece in processor["single"].as_array().into_iter().flatten() {
        if let Some(name) = piece["SpecialToken"]["id"].as_str() {
            let token = processor["special_tokens"].get(name);
            let token = token.with_context(|| {
                format!("its template uses the special token `{name}`, which it does not define")
            })?;
            n_ids += token["ids"].as_array().map_or(0, Vec::len);
        }
        n_texts += usize::from(!piece["Sequence"].is_null());
        let is_second = piece["Sequence"]["id"] == "B";
        ensure!(!is_second, "its template for a single text refers to a second text");
    }
    ensure!(n_texts <= 1, "its template repeats the text {n_texts} times");
    ensure!(n_ids <= MAX_TEMPLATE_IDS, "its template adds {n_ids} tokens to a text");
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

/// Bound of the factor by which a step makes a text longer, in bytes. A sequence of 60 that double
/// a text would need all memory.
fn growth(step: &Value) -> f64 {
    let is_empty = |key: &str| step[key].as_str().is_some_and(str::is_empty);
    if let (Some(pattern), Some(content)) = (step.get("pattern"), step["content"].as_str()) {
        return match pattern["String"].as_str().map(str::len) {
            Some(len) if len > 0 => (content.len() as f64 / len as f64).max(1.),
            _ => 1. + content.len() as f64, // a regex may match between any two characters
        };
    }
    match step["type"].as_str().unwrap_or_default() {
        "NFKC" | "NFKD" => 11., // U+FDFA: 3 bytes become 33
        "NFC" | "NFD" | "Lowercase" | "Nmt" | "BertNormalizer" => 3.,
        _ if step.get("replacement").is_some() => 4., // Metaspace: a space becomes a character
        _ if step.get("use_regex").or(step.get("trim_offsets")).is_some() => 2., // ByteLevel
        "ByteLevel" => 2.,
        // Where nothing is replaced, between any two characters, by a space.
        _ if is_empty("suffix") || is_empty("word_delimiter_token") => 2.,
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
