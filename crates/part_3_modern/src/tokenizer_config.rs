//! `tokenizer_config.json`: which tokens have a part to play, and how a chat is written.
//!
//! Older folders say some of it in `special_tokens_map.json`, and the template may stand in `chat_template.jinja`. We
//! write everything into the one file that every version of transformers reads.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use tiny_gpt::json_file;

use crate::ChatTemplate;

/// The tokens with a part to play, by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenizerSpecialTokens {
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text (in a chat model: a turn).
    pub eos: Option<u32>,
    /// The token of what has none.
    pub unk: Option<u32>,
    /// The token that fills up short rows of a batch.
    pub pad: Option<u32>,
}

impl TokenizerSpecialTokens {
    /// Those that the files of `folder` name.
    ///
    /// # Errors
    /// When a file is damaged.
    pub(crate) fn open(folder: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<Self> {
        let files = ["tokenizer_config.json", "special_tokens_map.json"];
        let files = files.map(|file| json_file::read_or_null(&folder.join(file)));
        let files = files.into_iter().collect::<Result<Vec<_>>>()?;
        // The first file that speaks of a token decides, even if it says that there is none.
        let named = |name: &str| {
            let token = files.iter().find_map(|file| file.get(name))?;
            let spelled = token.as_str().or_else(|| token["content"].as_str());
            Some(spelled.and_then(|token| tokenizer.token_to_id(token)))
        };
        let config = json_file::read_or_null(&folder.join("config.json"))?;
        let by_id = |name: &str| {
            let id = &config[name]; // a number, or several of which the first is the usual one
            let id = id.as_u64().or_else(|| id[0].as_u64()).and_then(|id| u32::try_from(id).ok());
            id.filter(|&id| tokenizer.id_to_token(id).is_some())
        };
        Ok(Self {
            bos: named("bos_token").unwrap_or_else(|| by_id("bos_token_id")),
            eos: named("eos_token").unwrap_or_else(|| by_id("eos_token_id")),
            unk: named("unk_token").flatten(),
            pad: named("pad_token").flatten(),
        })
    }

    /// All of them, by the name that transformers gives them.
    pub(crate) fn by_name(&self) -> [(&'static str, Option<u32>); 4] {
        let Self { bos, eos, unk, pad } = *self;
        [("bos_token", bos), ("eos_token", eos), ("unk_token", unk), ("pad_token", pad)]
    }
}

/// Writes the file into `folder`. A `chat_template.jinja` from before is removed, as it would be read instead.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(
    folder: &Path,
    special: &TokenizerSpecialTokens,
    name: impl Fn(u32) -> Option<String>,
    context: usize,
    template: Option<&ChatTemplate>,
) -> Result<()> {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    });
    for (key, id) in special.by_name() {
        config[key] = json!(id.and_then(&name));
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
