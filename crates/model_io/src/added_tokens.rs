//! Tokens that the files beside `tokenizer.json` add to its vocabulary, as in `transformers`.
//!
//! A chat model's markers may stand in `tokenizer_config.json` alone: in `added_tokens_decoder`,
//! which gives their flags, as a named token such as `eos_token`, or in a list of further special
//! tokens. Older folders have `special_tokens_map.json` and `added_tokens.json` instead, which are
//! ignored beside an `added_tokens_decoder`. A token without an ID in `tokenizer.json` gets the
//! next one, in the order of [`AddedTokenFiles::tokens`], whatever ID its file gives.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use serde_json::{Map, Value};
use tensor_core::json_file;
use tokenizers::{AddedToken, Model};

/// Names of special tokens in every tokenizer, in transformers' order.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of further special tokens, under their new and their old name.
const LISTS: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];
/// Objects in which a multimodal model's tokens have names.
const IMAGE_TOKEN_LISTS: [&str; 2] = ["extra_special_tokens", "model_specific_special_tokens"];
const DECODER: &str = "added_tokens_decoder";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// Files that a saved `tokenizer_config.json` replaces.
pub(crate) const LEGACY_FILES: [&str; 2] = [SPECIAL_TOKENS_MAP, ADDED_TOKENS];

/// Special and added tokens in the files beside a `tokenizer.json`.
pub(crate) struct AddedTokenFiles {
    /// `tokenizer_config.json`, into which an older folder's `special_tokens_map.json` is merged.
    config: Map<String, Value>,
    /// Added tokens that have an ID, by ID.
    by_id: BTreeMap<u64, AddedToken>,
}

impl AddedTokenFiles {
    /// Reads the files of `folder`: the file `config_name`, and the legacy ones.
    ///
    /// # Errors
    /// When a file is damaged; the message names the file.
    pub(crate) fn read(folder: &Path, config_name: &str) -> Result<Self> {
        let path = folder.join(config_name);
        let mut config = match json_file::read_or_null(&path)? {
            Value::Object(config) => config,
            Value::Null => Map::new(),
            _ => bail!("{} must be an object", path.display()),
        };
        if let Some(decoder) = config.get(DECODER).filter(|decoder| !decoder.is_null()) {
            let by_id = from_decoder(decoder).with_context(|| path.display().to_string())?;
            return Ok(Self { config, by_id });
        }
        if let Value::Object(map) = json_file::read_or_null(&folder.join(SPECIAL_TOKENS_MAP))? {
            for (name, mut value) in map {
                if let (Value::Array(list), Some(Value::Array(first))) =
                    (&mut value, config.get(&name))
                {
                    list.splice(0..0, first.iter().cloned());
                }
                config.insert(name, value);
            }
        }
        let mut files = Self { config, by_id: BTreeMap::new() };
        let path = folder.join(ADDED_TOKENS);
        if let Value::Object(added) = json_file::read_or_null(&path)? {
            let special = files.named().into_iter().chain(files.listed());
            let special: HashSet<String> = special.map(|token| token.content).collect();
            for (content, id) in added {
                let id = id.as_u64();
                let id =
                    id.with_context(|| format!("{}: `{content}` has no id", path.display()))?;
                let is_special = special.contains(&content);
                files.by_id.insert(id, AddedToken::from(content, is_special));
            }
        }
        Ok(files)
    }

    /// Spelling of the special token `name`, such as `eos_token`: `None` if the files do not name
    /// it, `Some(None)` if they say that there is none.
    pub(crate) fn named_token(&self, name: &str) -> Option<Option<&str>> {
        let token = self.config.get(name)?;
        Some(token.as_str().or_else(|| token["content"].as_str()))
    }

    /// All tokens of the files, in the order in which they get IDs: those with an ID in the files,
    /// then named tokens, then listed ones.
    fn tokens(&self) -> Vec<AddedToken> {
        let named = self.named();
        let names: HashSet<&str> = named.iter().map(|token| &*token.content).collect();
        let mut tokens: Vec<AddedToken> = self.by_id.values().cloned().collect();
        for token in &mut tokens {
            token.special |= names.contains(&*token.content);
        }
        tokens.into_iter().chain(named).chain(self.listed()).collect()
    }

    /// Tokens under a name, such as `eos_token` or a multimodal model's `image_token`.
    fn named(&self) -> Vec<AddedToken> {
        let standard = NAMES.iter().filter_map(|&name| self.config.get(name));
        let is_further = |name: &str| name.ends_with("_token") && !NAMES.contains(&name);
        let further = self.config.iter().filter(|(name, _)| is_further(name));
        let further = further.map(|(_, token)| token);
        let lists = LISTS.iter().filter_map(|&list| self.config.get(list)?.as_object());
        let tokens = standard.chain(further).chain(lists.flat_map(Map::values));
        tokens.filter_map(special_token).collect()
    }

    /// Tokens in a list of further special tokens.
    fn listed(&self) -> Vec<AddedToken> {
        let lists = LISTS.iter().filter_map(|&list| self.config.get(list)?.as_array());
        lists.flatten().filter_map(special_token).collect()
    }

    /// Spellings of the tokens whose flags replace those in `tokenizer.json`.
    fn spellings_with_flags(&self) -> HashSet<&str> {
        let has_decoder = self.config.get(DECODER).is_some_and(|decoder| !decoder.is_null());
        let by_id = self.by_id.values().filter(|_| has_decoder);
        by_id.map(|token| &*token.content).collect()
    }

    /// Removes the token that stands for an image from the content of a `tokenizer.json`, unless
    /// its ID is below `vocab_size`: the models of Gemma 3 that read text alone have the tokenizer
    /// of the others, and no embedding for this token.
    pub(crate) fn remove_image_token(&self, tokenizer: &mut Value, vocab_size: Option<usize>) {
        let in_list = || {
            let mut lists = IMAGE_TOKEN_LISTS.iter().filter_map(|&list| self.config.get(list));
            lists.find_map(|list| list.get("image_token")?.as_str())
        };
        let image_token = self.named_token("image_token").flatten().or_else(in_list);
        let added = tokenizer.get_mut("added_tokens").and_then(Value::as_array_mut);
        let (Some(image_token), Some(added), Some(vocab_size)) = (image_token, added, vocab_size)
        else {
            return;
        };
        let has_embedding =
            |token: &Value| token["id"].as_u64().is_none_or(|id| id < vocab_size as u64);
        added.retain(|token| token["content"] != image_token || has_embedding(token));
    }

    /// Adds the tokens to `tokenizer`, unless their ID would not be below `vocab_size`: some
    /// folders name a padding token for which the model has no embedding.
    ///
    /// # Errors
    /// When a new token gets the ID of another one, because the vocabulary has gaps.
    pub(crate) fn add_to(
        &self,
        tokenizer: &mut tokenizers::Tokenizer,
        vocab_size: Option<usize>,
    ) -> Result<()> {
        let limit = vocab_size.unwrap_or(usize::MAX);
        let mut next = next_id(tokenizer);
        let with_flags = self.spellings_with_flags();
        let (mut tokens, mut spellings) = (Vec::<AddedToken>::new(), HashSet::new());
        for token in self.tokens() {
            let known = tokenizer.get_added_vocabulary().get_vocab().contains_key(&token.content);
            let replaces = with_flags.contains(&*token.content);
            if spellings.contains(&token.content) || known && !replaces {
                continue;
            }
            if tokenizer.token_to_id(&token.content).is_none() {
                if next >= limit {
                    continue;
                }
                if let Some(other) = tokenizer.id_to_token(next as u32) {
                    bail!(
                        "the token `{}` has no id in tokenizer.json, and `{other}` has the next \
                         one, {next}",
                        token.content
                    );
                }
                next += 1;
            }
            spellings.insert(token.content.clone());
            tokens.push(token);
        }
        tokenizer.add_tokens(tokens).map(drop).map_err(Error::from_boxed)
    }
}

/// ID that `tokenizer` gives to the next new token.
fn next_id(tokenizer: &tokenizers::Tokenizer) -> usize {
    let model_vocab = tokenizer.get_model().get_vocab_size();
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    added.keys().max().map_or(model_vocab, |&last| model_vocab.max(last as usize + 1))
}

/// Special token that a file gives as its spelling, or as an object with its flags. Other values,
/// such as `"add_bos_token": true`, are not tokens.
fn special_token(json: &Value) -> Option<AddedToken> {
    match json {
        Value::String(content) => Some(AddedToken::from(content.clone(), true)),
        Value::Object(_) => from_object(json).map(|token| token.special(true)),
        _ => None,
    }
}

/// Tokens of an `added_tokens_decoder`, by ID.
fn from_decoder(decoder: &Value) -> Result<BTreeMap<u64, AddedToken>> {
    let decoder = decoder.as_object().context("`added_tokens_decoder` must be an object")?;
    let token = |(id, token): (&String, &Value)| {
        let parsed = id.parse().ok().zip(from_object(token));
        parsed.with_context(|| format!("`added_tokens_decoder` has an invalid token `{id}`"))
    };
    decoder.iter().map(token).collect()
}

/// Added token with transformers' defaults for missing flags.
fn from_object(json: &Value) -> Option<AddedToken> {
    let flag = |name: &str| json[name].as_bool();
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(json["content"].as_str()?, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(match flag("normalized") {
        Some(normalized) => token.normalized(normalized),
        None => token,
    })
}
