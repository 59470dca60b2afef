//! Selection of the files of a Hub repository: one named file, or those of a whole model.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::id::HubId;
use crate::peft_folder::{self, CONFIG as ADAPTER_CONFIG, WEIGHTS as ADAPTER_WEIGHTS};
use crate::weight_files::{WEIGHT_LISTS, WEIGHTS_FILE, WeightIndex, weight_list};

const CONFIG: &str = "config.json";
/// Files that a model may lack.
const OPTIONAL: [&str; 6] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// Files with the chat template of an adapter, which it may lack.
const OPTIONAL_OF_ADAPTER: [&str; 2] = ["tokenizer_config.json", "chat_template.jinja"];

/// Files to download of `id`, given the `names` of all files in its repository: configuration,
/// tokenizer, chat template and weights of a model, or an adapter, unless the id names a file. The
/// weight files that an index lists are fetched afterwards.
pub(super) fn files_to_download<'a>(id: &'a HubId, names: &[&str]) -> Result<Vec<&'a str>> {
    let has = |name: &str| names.contains(&name);
    let listed = |extension: &str| {
        let names = names.iter().copied().filter(|name| name.ends_with(extension));
        names.collect::<Vec<_>>().join(", ")
    };
    if let Some(file) = &id.file {
        let extension = if id.is_model() { ".gguf" } else { "" };
        ensure!(has(file), "it lacks {file}; it has: {}", listed(extension));
        return Ok(vec![file]);
    }
    let weights = WEIGHT_LISTS.into_iter().find(|file| has(file));
    if weights.is_none() && has(ADAPTER_CONFIG) {
        ensure!(
            has(ADAPTER_WEIGHTS),
            "it lacks {ADAPTER_WEIGHTS}; other weight formats of adapters are not supported"
        );
        let optional = OPTIONAL_OF_ADAPTER.into_iter().filter(|file| has(file));
        return Ok(optional.chain([ADAPTER_CONFIG, ADAPTER_WEIGHTS]).collect());
    }
    let gguf = listed(".gguf");
    ensure!(
        has(CONFIG) && weights.is_some() || gguf.is_empty(),
        "name one of its files as owner/name:file.gguf: {gguf}"
    );
    ensure!(has(CONFIG), "it lacks {CONFIG}, so it is not a transformers model");
    let Some(weights) = weights else {
        bail!(
            "it lacks {WEIGHTS_FILE} and pytorch_model.bin; other weight formats are not supported"
        )
    };
    Ok(OPTIONAL.into_iter().filter(|file| has(file)).chain([CONFIG, weights]).collect())
}

/// First required file of `id` that `folder` lacks.
pub(super) fn first_missing_file(folder: &Path, id: &HubId) -> Option<String> {
    let missing = |file: &String| !folder.join(file).exists();
    if let Some(file) = &id.file {
        return Some(file.clone()).filter(missing);
    }
    if peft_folder::is_adapter(folder) {
        return Some(ADAPTER_WEIGHTS.to_string()).filter(missing);
    }
    let list = weight_list(folder).unwrap_or(WEIGHTS_FILE);
    let index = WeightIndex::open(folder);
    let weights = match &index {
        Ok(Some(index)) => index.files(),
        Ok(None) => BTreeSet::from([list]),
        Err(_) => return Some(list.to_string()), // unreadable counts as missing
    };
    [CONFIG].into_iter().chain(weights).map(str::to_string).find(missing)
}
