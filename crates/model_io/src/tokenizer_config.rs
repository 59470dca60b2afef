//! `tokenizer_config.json`: named special tokens and the chat template.
//!
//! Older folders use `special_tokens_map.json`, and the template may be in `chat_template.jinja`.
//! We write everything into the one file that every version of transformers reads.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use tensor_core::json_file;

use crate::ChatTemplate;

/// Named special tokens of a tokenizer, as IDs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenizerSpecialTokens {
    /// Beginning-of-text token.
    pub bos: Option<u32>,
    /// End-of-text token (in a chat model: end of turn).
    pub eos: Option<u32>,
    /// Unknown token, for characters without a token of their own.
    pub unk: Option<u32>,
    /// Padding token, for short rows of a batch.
    pub pad: Option<u32>,
}

impl TokenizerSpecialTokens {
    /// Reads the special tokens from the files of `folder`.
    ///
    /// # Errors
    /// When a file is damaged.
    pub(crate) fn open(folder: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<Self> {
        let files = ["tokenizer_config.json", "special_tokens_map.json"];
        let files = files.map(|file| json_file::read_or_null(&folder.join(file)));
        let files = files.into_iter().collect::<Result<Vec<_>>>()?;
        // The first file that contains the key decides, even if its value is null.
        let from_name = |name: &str| {
            let token = files.iter().find_map(|file| file.get(name))?;
            let spelling = token.as_str().or_else(|| token["content"].as_str());
            Some(spelling.and_then(|token| tokenizer.token_to_id(token)))
        };
        let config = json_file::read_or_null(&folder.join("config.json"))?;
        let from_config = |name: &str| {
            let id = &config[name]; // a number, or a list whose first entry is the main one
            let id = id.as_u64().or_else(|| id[0].as_u64()).and_then(|id| u32::try_from(id).ok());
            id.filter(|&id| tokenizer.id_to_token(id).is_some())
        };
        Ok(Self {
            bos: from_name("bos_token").unwrap_or_else(|| from_config("bos_token_id")),
            eos: from_name("eos_token").unwrap_or_else(|| from_config("eos_token_id")),
            unk: from_name("unk_token").flatten(),
            pad: from_name("pad_token").flatten(),
        })
    }

    /// Pairs of transformers' name and token ID.
    pub(crate) fn by_name(&self) -> [(&'static str, Option<u32>); 4] {
        let Self { bos, eos, unk, pad } = *self;
        [("bos_token", bos), ("eos_token", eos), ("unk_token", unk), ("pad_token", pad)]
    }
}

/// Writes `tokenizer_config.json` into `folder` and removes an old `chat_template.jinja`, which
/// would take precedence.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(
    folder: &Path,
    special_tokens: &TokenizerSpecialTokens,
    id_to_token: impl Fn(u32) -> Option<String>,
    context_len: usize,
    template: Option<&ChatTemplate>,
) -> Result<()> {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": context_len,
    });
    for (key, id) in special_tokens.by_name() {
        config[key] = json!(id.and_then(&id_to_token));
    }
    if let Some(template) = template {
        config["chat_template"] = json!(template.source());
    }
    json_file::write(&folder.join("tokenizer_config.json"), &config)?;
    let jinja = folder.join("chat_template.jinja");
    if jinja.exists() {
        std::fs::remove_file(&jinja).with_context(|| format!("removing {}", jinja.display()))?;
    }
    Ok(())
}
