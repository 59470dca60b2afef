//! `tokenizer.json` rebuilt from the tokens and merges of another format, as the model was
//! published with it.
//!
//! There are two families. `gpt2` merges bytes; `llama` (sentencepiece) merges characters, with
//! byte fallback. The pre-tokenization regex is not in a GGUF file, only its name `pre`; it splits
//! the text into pieces that no merge crosses.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::gguf_tokenizer::{CONTROL, GgufTokenizer, UNKNOWN, USER_DEFINED};
use crate::{Tokenizer, TokenizerSpecialTokens};

/// Pre-tokenization regex of GPT-4, in which DIGITS stands for the groups of digits.
const GPT_4: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Limit of a token's length; the longest of real models have some hundred bytes. The time in which
/// merges follow from scores grows with its square.
const MAX_TOKEN_BYTES: usize = 1 << 12;

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file from its metadata.
    ///
    /// # Errors
    /// When its type is not supported, or its lists do not match.
    pub fn from_gguf(parts: &GgufTokenizer) -> Result<Self> {
        let n = parts.tokens.len();
        ensure!(n > 0, "`tokenizer.ggml.tokens` is missing or empty: the file has no tokenizer");
        if let Some(id) = parts.tokens.iter().position(|token| token.len() > MAX_TOKEN_BYTES) {
            bail!("token {id} has {} bytes, more than {MAX_TOKEN_BYTES}", parts.tokens[id].len());
        }
        for (name, len) in [("scores", parts.scores.len()), ("token_type", parts.token_type.len())]
        {
            ensure!(
                len == 0 || len == n,
                "the file has {n} tokens, but `tokenizer.ggml.{name}` has {len} entries"
            );
        }
        let json = match parts.model.as_str() {
            "gpt2" => byte_level(parts),
            "llama" => sentencepiece(parts),
            other => bail!("tokenizer type `{other}` is not supported: expected `gpt2` or `llama`"),
        }?;
        let GgufTokenizer { bos, eos, unk, pad, .. } = *parts;
        let special = TokenizerSpecialTokens { bos, eos, unk, pad };
        Self::from_json(json, special).context("the file's tokenizer is damaged")
    }
}

/// Byte-level BPE: every byte has a token, so any text can be encoded.
fn byte_level(parts: &GgufTokenizer) -> Result<Value> {
    let split = |digits: &str| {
        let pattern = json!({ "Regex": GPT_4.replace("DIGITS", digits) });
        json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false })
    };
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false,
            "trim_offsets": true, "use_regex": use_regex
        })
    };
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let pre = parts.pre.as_deref().unwrap_or("default");
    let (llama_3, qwen_2) = (pre.starts_with("llama"), pre.contains("qwen"));
    let gpt_neox = matches!(pre, "olmo" | "mpt"); // llama.cpp names it after its later users
    let steps = match pre {
        "default" | "gpt-2" | "olmo" | "mpt" => vec![bytes(true)],
        "smollm" | "starcoder" => vec![digits, bytes(true)],
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" | "dbrx" => {
            vec![split(r"\p{N}{1,3}"), bytes(false)]
        }
        "qwen2" | "deepseek-r1-qwen" => vec![split(r"\p{N}"), bytes(false)],
        other => bail!(
            "pre-tokenizer `{other}` is not supported: expected gpt-2, olmo, mpt, smollm, \
             llama-bpe, smaug-bpe, dbrx or qwen2"
        ),
    };
    let merges = parts.merges.iter().map(|merge| {
        merge
            .split_once(' ')
            .with_context(|| format!("the merge `{merge}` is not a pair of tokens"))
    });
    let mut json = base_tokenizer_json(parts, parts.add_bos.unwrap_or(llama_3))?;
    if qwen_2 || gpt_neox {
        json["normalizer"] = json!({ "type": "NFC" });
    }
    json["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": steps });
    json["decoder"] = bytes(true);
    json["model"]["merges"] = json!(merges.collect::<Result<Vec<_>>>()?);
    // Llama 3 keeps a piece that is in the vocabulary as one token, whatever the merges give.
    json["model"]["ignore_merges"] = json!(llama_3);
    Ok(json)
}

/// Sentencepiece's BPE: spaces become `▁`; one is put before a text, and after a special token as
/// in llama.cpp and Llama 2's published tokenizers; unknown characters are encoded as bytes.
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
        [] => json!(merges_from_scores(parts)?),
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

/// Merge list from sentencepiece scores, as `transformers` converts it. Sentencepiece merges the
/// pair whose result has the best score, so the list has every split of every token into two
/// tokens, by score; of equal scores, those with longer parts come first. Text never merges into a
/// control token, in sentencepiece neither, so a user cannot type one.
fn merges_from_scores(parts: &GgufTokenizer) -> Result<Vec<(&str, &str)>> {
    let GgufTokenizer { tokens, scores, token_type, .. } = parts;
    ensure!(
        !scores.is_empty(),
        "`tokenizer.ggml.merges` and `tokenizer.ggml.scores` are both missing"
    );
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (&**token, id)).collect();
    // Lengths are a cheap filter before the lookup; without it, a very long token would take days.
    let sizes: HashSet<usize> = tokens.iter().map(String::len).collect();
    let mut merges = Vec::new();
    for (id, (token, &score)) in tokens.iter().zip(scores).enumerate() {
        if matches!(token_type.get(id), Some(&(CONTROL | UNKNOWN))) {
            continue;
        }
        let splits = token.char_indices().map(|(at, _)| at).skip(1);
        let splits = splits.filter(|at| sizes.contains(at) && sizes.contains(&(token.len() - at)));
        let parts = splits.map(|at| token.split_at(at));
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

/// Parts of `tokenizer.json` common to both families: vocabulary, added tokens and post-processor.
fn base_tokenizer_json(parts: &GgufTokenizer, add_bos: bool) -> Result<Value> {
    let ids = parts.tokens.iter().zip(0u32..);
    let vocab: Map<String, Value> =
        ids.clone().map(|(token, id)| (token.clone(), json!(id))).collect();
    let added_types = [UNKNOWN, CONTROL, USER_DEFINED];
    let added = ids.zip(&parts.token_type).filter(|(_, kind)| added_types.contains(kind));
    let added = added.map(|((token, id), &kind)| {
        json!({
            "id": id, "content": token, "special": kind != USER_DEFINED,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false
        })
    });
    Ok(json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "post_processor": post_processor(parts, add_bos)?,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] }
    }))
}

/// Post-processor that puts `bos` before a text if `add_bos`, and `eos` after it if the file sets
/// that.
fn post_processor(parts: &GgufTokenizer, add_bos: bool) -> Result<Value> {
    let mut special = Map::new();
    let mut added = |add: bool, id: Option<u32>| -> Result<Vec<Value>> {
        let Some(id) = id.filter(|_| add) else { return Ok(Vec::new()) };
        let token = parts.tokens.get(id as usize);
        let token = token.with_context(|| format!("token {id} is outside the vocabulary"))?;
        special.insert(token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        Ok(vec![json!({ "SpecialToken": { "id": token, "type_id": 0 } })])
    };
    let (prefix, suffix) =
        (added(add_bos, parts.bos)?, added(parts.add_eos == Some(true), parts.eos)?);
    if special.is_empty() {
        return Ok(Value::Null);
    }
    let a = [json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    let b = [json!({ "Sequence": { "id": "B", "type_id": 1 } })];
    let (single, pair) =
        ([&prefix[..], &a, &suffix].concat(), [&prefix[..], &a, &b, &suffix].concat());
    Ok(json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special
    }))
}
