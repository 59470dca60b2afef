//! The files of a tokenizer in a model folder: `tokenizer.json`, its special tokens, and the chat
//! template.
//!
//! The special tokens are named in `tokenizer_config.json`, which may also hold the chat template;
//! newer folders have that in `chat_template.jinja`. We write everything into the two files that
//! every version of transformers reads.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tensor_core::{atomic_file, json_file, regular_file};

use crate::added_tokens::{AddedTokenFiles, LEGACY_FILES};
use crate::tokenizer_check::{take_bpe_dropout, tokenizer_from_json};
use crate::{ChatTemplate, Tokenizer, TokenizerSpecialTokens};

const CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

impl Tokenizer {
    /// Opens `tokenizer.json`, given its folder or its path. Files in the same folder name the
    /// [`TokenizerSpecialTokens`] and add tokens.
    ///
    /// BPE dropout is switched off, with a note on stderr.
    ///
    /// # Errors
    /// When the file is missing, or it or a neighboring file is damaged.
    pub fn open(folder_or_file: &Path) -> Result<Self> {
        let file = match folder_or_file.is_dir() {
            true => folder_or_file.join("tokenizer.json"),
            false => folder_or_file.to_path_buf(),
        };
        let invalid = || format!("{} is not a valid tokenizer; download it again", file.display());
        // Parse as JSON first: the library panics on a syntax error inside the decoder.
        ensure!(file.exists(), "there is no {}: a model requires its tokenizer", file.display());
        let mut json = json_file::read(&file).with_context(invalid)?;
        if let Some(dropout) = take_bpe_dropout(&mut json) {
            eprintln!(
                "{}: its BPE dropout of {dropout} is switched off, so a text has the same tokens \
                 every time",
                file.to_string_lossy().escape_debug()
            );
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        let config = json_file::read_or_null(&folder.join("config.json"))?;
        let files = AddedTokenFiles::read(folder, CONFIG)?;
        let model_vocab = config["vocab_size"].as_u64().map(|size| size as usize);
        files.remove_image_token(&mut json, model_vocab);
        let mut inner = tokenizer_from_json(json).with_context(invalid)?;
        files.add_to(&mut inner, model_vocab).with_context(invalid)?;
        let special = special_tokens(&files, &config, &inner);
        Self::new(inner, special).with_context(invalid)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, and removes old files
    /// that would take precedence, such as a `chat_template.jinja`. `context_len` becomes
    /// `model_max_length`, `template` the chat template.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(
        &self,
        folder: &Path,
        context_len: usize,
        template: Option<&ChatTemplate>,
    ) -> Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let json = self.to_json()? + "\n";
        atomic_file::write(&folder.join("tokenizer.json"), json.as_bytes())?;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "model_max_length": context_len,
        });
        for (key, id) in self.special_tokens().by_name() {
            config[key] = json!(id.and_then(|id| self.id_to_token(id)));
        }
        if let Some(template) = template {
            config["chat_template"] = json!(template.source());
        }
        json_file::write(&folder.join(CONFIG), &config)?;
        for old in [TEMPLATE].iter().chain(&LEGACY_FILES).map(|name| folder.join(name)) {
            if old.exists() {
                std::fs::remove_file(&old)
                    .with_context(|| format!("removing {}", old.display()))?;
            }
        }
        Ok(())
    }
}

/// Named special tokens of `files`, or else of the model's `config.json`.
fn special_tokens(
    files: &AddedTokenFiles,
    config: &Value,
    tokenizer: &tokenizers::Tokenizer,
) -> TokenizerSpecialTokens {
    let from_name =
        |name: &str| Some(files.named_token(name)?.and_then(|token| tokenizer.token_to_id(token)));
    let from_config = |name: &str| {
        let id = &config[name]; // a number, or a list whose first entry is the main one
        let id = id.as_u64().or_else(|| id[0].as_u64()).and_then(|id| u32::try_from(id).ok());
        id.filter(|&id| tokenizer.id_to_token(id).is_some())
    };
    TokenizerSpecialTokens {
        bos: from_name("bos_token").unwrap_or_else(|| from_config("bos_token_id")),
        eos: from_name("eos_token").unwrap_or_else(|| from_config("eos_token_id")),
        unk: from_name("unk_token").flatten(),
        pad: from_name("pad_token").flatten(),
    }
}

impl ChatTemplate {
    /// Chat template of a model folder: `chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json`. `None` if there is neither: the model is not a chat model.
    ///
    /// # Errors
    /// When the file is damaged. A template that is not valid Jinja fails when it is rendered; both
    /// messages name the file.
    pub fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let (jinja, config) = (folder.join(TEMPLATE), folder.join(CONFIG));
        let (path, source) = if jinja.exists() {
            let source = regular_file::read_to_string(&jinja, MAX_TEMPLATE_BYTES)?;
            (jinja, Some(source))
        } else {
            let source = default_template(&json_file::read_or_null(&config)?["chat_template"])
                .with_context(|| config.display().to_string())?;
            (config, source)
        };
        let name = path.display().to_string();
        Ok(source.map(|source| Self::from_model_files(name, &source, tokenizer)))
    }
}

/// Source of the default template: `chat_template` is a string, or a list of named templates, of
/// which `default` is for chats without tools.
fn default_template(json: &Value) -> Result<Option<String>> {
    match json {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(source.clone())),
        Value::Array(list) => match list.iter().find(|entry| entry["name"] == "default") {
            Some(entry) => default_template(&entry["template"]),
            None => Ok(None),
        },
        _ => bail!("`chat_template` must be a string or a list of named templates"),
    }
}
