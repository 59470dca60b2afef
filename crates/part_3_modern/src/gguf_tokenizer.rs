//! The tokenizer inside a GGUF file: a list of tokens and merges, from which we write the `tokenizer.json` that the
//! model was published with.
//!
//! Two families: `gpt2` merges bytes, `llama` (sentencepiece) merges characters and falls back to bytes. What the file
//! does not hold, it names: `pre` says which regular expression cuts the text into pieces that no merge crosses.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::tokenizer::Tokenizer;
use crate::tokenizer_config::TokenizerSpecialTokens;

/// A GGUF file's `tokenizer.ggml.*`, under the same names.
#[derive(Debug, Clone, Default)]
pub struct GgufTokenizer {
    /// `gpt2` (byte-level BPE) or `llama` (sentencepiece).
    pub model: String,
    /// How text is cut before merging; none is `default`.
    pub pre: Option<String>,
    /// The vocabulary, in the order of its ids.
    pub tokens: Vec<String>,
    /// Pairs of tokens, as `left right`, best first; a `llama` file may leave them to be found from `scores`.
    pub merges: Vec<String>,
    /// One per token, higher merges earlier; only in `llama` files.
    pub scores: Vec<f32>,
    /// One [`NORMAL`], [`UNKNOWN`], [`CONTROL`], [`USER_DEFINED`] or other number per token; without any, all are normal.
    pub token_type: Vec<i32>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token of what has none.
    pub unk: Option<u32>,
    /// The token that fills up a batch.
    pub pad: Option<u32>,
    /// Whether a text gets `bos`; none is the family's habit.
    pub add_bos: Option<bool>,
    /// Whether `eos` is put after a text; none is no.
    pub add_eos: Option<bool>,
    /// Whether a `llama` text gets a space in front; none is yes.
    pub add_space_prefix: Option<bool>,
}

/// The `token_type` of tokens that text becomes.
pub const NORMAL: i32 = 1;
/// The `token_type` of `<unk>`.
pub const UNKNOWN: i32 = 2;
/// The `token_type` of tokens such as `<|im_end|>`.
pub const CONTROL: i32 = 3;
/// The `token_type` of tokens that are kept whole but are text, such as `<think>`.
pub const USER_DEFINED: i32 = 4;

/// GPT-4's way to cut text, with numbers of up to three digits: Llama 3.
const LLAMA_3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// The same with single digits: Qwen 2.
const QWEN_2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

impl Tokenizer {
    /// The tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// When its kind is not known here, or its lists do not fit together.
    pub fn from_gguf(parts: &GgufTokenizer) -> Result<Self> {
        let n = parts.tokens.len();
        ensure!(n > 0, "the file has no `tokenizer.ggml.tokens`, so it holds no tokenizer");
        for (name, len) in [("scores", parts.scores.len()), ("token_type", parts.token_type.len())]
        {
            ensure!(
                len == 0 || len == n,
                "the file has {n} tokens but {len} of `tokenizer.ggml.{name}`"
            );
        }
        let json = match parts.model.as_str() {
            "gpt2" => byte_level(parts),
            "llama" => sentencepiece(parts),
            other => bail!("the file's tokenizer is `{other}`; this part reads `gpt2` and `llama`"),
        }?;
        let GgufTokenizer { bos, eos, unk, pad, .. } = *parts;
        let special = TokenizerSpecialTokens { bos, eos, unk, pad };
        Self::from_json(json, special).context("the file's tokenizer is damaged")
    }
}

/// Byte-level BPE: every byte has a letter, so there is nothing that cannot be written.
fn byte_level(parts: &GgufTokenizer) -> Result<Value> {
    let split = |regex: &str| {
        let pattern = json!({ "Regex": regex });
        json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false })
    };
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex
        })
    };
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let pre = parts.pre.as_deref().unwrap_or("default");
    let steps = match pre {
        "default" | "gpt-2" => vec![bytes(true)],
        "smollm" | "starcoder" => vec![digits, bytes(true)],
        "llama-bpe" | "llama3" | "llama-v3" => vec![split(LLAMA_3), bytes(false)],
        "qwen2" | "deepseek-r1-qwen" => vec![split(QWEN_2), bytes(false)],
        other => bail!(
            "the file cuts text by `{other}`; this part knows gpt-2, smollm, llama-bpe and qwen2"
        ),
    };
    let llama_3 = pre.starts_with("llama");
    let merges = parts.merges.iter().map(|merge| {
        merge.split_once(' ').with_context(|| format!("the merge `{merge}` is no pair of tokens"))
    });
    let mut json = base_tokenizer_json(parts, parts.add_bos.unwrap_or(llama_3))?;
    if steps.iter().any(|step| step["pattern"]["Regex"] == QWEN_2) {
        json["normalizer"] = json!({ "type": "NFC" });
    }
    json["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": steps });
    json["decoder"] = bytes(true);
    json["model"]["merges"] = json!(merges.collect::<Result<Vec<_>>>()?);
    json["model"]["ignore_merges"] = json!(llama_3); // a piece that is a token is that token
    Ok(json)
}

/// Sentencepiece's BPE: spaces are `▁`, one goes in front of a text (and of what follows a special token, as in llama.cpp
/// and the tokenizers that Llama 2 was published with), unknown characters are spelled in bytes.
fn sentencepiece(parts: &GgufTokenizer) -> Result<Value> {
    let space_prefix = parts.add_space_prefix.unwrap_or(true);
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let mut normalizers = vec![spaces];
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if space_prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let merges = match parts.merges.as_slice() {
        [] => json!(merges_from_scores(&parts.tokens, &parts.scores)?),
        merges => json!(merges),
    };
    let mut json = base_tokenizer_json(parts, parts.add_bos.unwrap_or(true))?;
    json["normalizer"] = json!({ "type": "Sequence", "normalizers": normalizers });
    json["decoder"] = json!({ "type": "Sequence", "decoders": decoders });
    json["model"]["merges"] = merges;
    json["model"]["byte_fallback"] = json!(true);
    json["model"]["fuse_unk"] = json!(true);
    if parts.tokens.iter().any(|token| token == "<unk>") {
        json["model"]["unk_token"] = json!("<unk>");
    }
    Ok(json)
}

/// Sentencepiece merges the pair whose result has the best score; a list of merges has every way to make a token out
/// of two, in that order, and longer parts first where scores are equal. As `transformers` converts it.
fn merges_from_scores<'a>(tokens: &'a [String], scores: &[f32]) -> Result<Vec<(&'a str, &'a str)>> {
    ensure!(
        !scores.is_empty(),
        "the file has neither `tokenizer.ggml.merges` nor `tokenizer.ggml.scores`"
    );
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (&**token, id)).collect();
    // Looked at before the tokens, so that one as long as a book does not take days.
    let sizes: HashSet<usize> = tokens.iter().map(String::len).collect();
    let mut merges = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        let places = token.char_indices().map(|(at, _)| at).skip(1);
        let places = places.filter(|at| sizes.contains(at) && sizes.contains(&(token.len() - at)));
        let parts = places.map(|at| token.split_at(at));
        let mut pairs: Vec<_> = parts
            .filter_map(|(left, right)| Some((ids.get(left)?, ids.get(right)?, left, right)))
            .collect();
        pairs.sort_unstable_by_key(|&(left_id, right_id, ..)| (left_id, right_id));
        merges.extend(pairs.into_iter().map(|(.., left, right)| (score, left, right)));
    }
    let lengths = |left: &str, right: &str| Reverse((left.chars().count(), right.chars().count()));
    merges.sort_by(|&(a, a_left, a_right), &(b, b_left, b_right)| {
        b.total_cmp(&a).then_with(|| lengths(a_left, a_right).cmp(&lengths(b_left, b_right)))
    });
    Ok(merges.into_iter().map(|(_, left, right)| (left, right)).collect())
}

/// What both families have: the vocabulary, the tokens that are kept whole, and what is added around a text.
fn base_tokenizer_json(parts: &GgufTokenizer, add_bos: bool) -> Result<Value> {
    let ids = parts.tokens.iter().zip(0u32..);
    let vocab: Map<String, Value> =
        ids.clone().map(|(token, id)| (token.clone(), json!(id))).collect();
    let whole = [UNKNOWN, CONTROL, USER_DEFINED];
    let added = ids.zip(&parts.token_type).filter(|(_, kind)| whole.contains(kind));
    let added = added.map(|((token, id), &kind)| {
        json!({
            "id": id, "content": token, "special": kind != USER_DEFINED,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false
        })
    });
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": post_processor(parts, add_bos)?,
        "decoder": null,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] }
    }))
}

/// Puts `bos` before a text if `add_bos`, and `eos` after it where the file says so.
fn post_processor(parts: &GgufTokenizer, add_bos: bool) -> Result<Value> {
    let mut special = Map::new();
    let mut added = |add: bool, id: Option<u32>| -> Result<Vec<Value>> {
        let Some(id) = id.filter(|_| add) else { return Ok(Vec::new()) };
        let token = parts.tokens.get(id as usize);
        let token = token.with_context(|| format!("token {id} lies beyond the vocabulary"))?;
        special.insert(token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        Ok(vec![json!({ "SpecialToken": { "id": token, "type_id": 0 } })])
    };
    let (begin, end) = (added(add_bos, parts.bos)?, added(parts.add_eos == Some(true), parts.eos)?);
    if special.is_empty() {
        return Ok(Value::Null);
    }
    let a = [json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    let b = [json!({ "Sequence": { "id": "B", "type_id": 1 } })];
    let (single, pair) = ([&begin[..], &a, &end].concat(), [&begin[..], &a, &b, &end].concat());
    Ok(json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special
    }))
}
