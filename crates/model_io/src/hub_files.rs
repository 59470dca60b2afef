//! Selection of the files of a Hub repository that we need.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::weight_files::{INDEX_FILE, SafetensorsIndex, WEIGHTS_FILE};

/// Files to fetch from a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubFiles {
    /// Weights (safetensors), configuration, tokenizer and chat template.
    Model,
    /// Everything except the weights.
    WithoutWeights,
    /// Single GGUF file, which contains weights, configuration and tokenizer.
    Gguf(String),
    /// Single file of a data set.
    DatasetFile(String),
}

const CONFIG: &str = "config.json";
/// Files that a model may lack.
const OPTIONAL: [&str; 5] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// Files to download, given the `names` of all files in the repository. The weight files listed in
/// [`INDEX_FILE`] are fetched afterwards.
pub(crate) fn files_to_download<'a>(files: &'a HubFiles, names: &[&str]) -> Result<Vec<&'a str>> {
    let has = |name: &str| names.contains(&name);
    let listed = |ending: &str| {
        let names: Vec<&str> =
            names.iter().copied().filter(|name| name.ends_with(ending)).collect();
        names.join(", ")
    };
    if let HubFiles::Gguf(file) = files {
        ensure!(has(file), "it lacks {file}; it has: {}", listed(".gguf"));
        return Ok(vec![file]);
    }
    let mut selected: Vec<&str> = OPTIONAL.into_iter().filter(|file| has(file)).collect();
    if let HubFiles::DatasetFile(file) = files {
        ensure!(has(file), "it lacks {file}; it has: {}", listed(""));
        return Ok(vec![file]);
    }
    if *files == HubFiles::WithoutWeights {
        selected.extend([CONFIG].into_iter().filter(|file| has(file)));
        return Ok(selected);
    }
    let gguf = listed(".gguf");
    match () {
        () if !(has(CONFIG) && (has(WEIGHTS_FILE) || has(INDEX_FILE))) && !gguf.is_empty() => {
            bail!("name one of its files as owner/name:file.gguf: {gguf}")
        }
        () if !has(CONFIG) => bail!("it lacks {CONFIG}, so it is not a transformers model"),
        () if has(WEIGHTS_FILE) => selected.extend([CONFIG, WEIGHTS_FILE]),
        () if has(INDEX_FILE) => selected.extend([CONFIG, INDEX_FILE]),
        () => bail!("it lacks {WEIGHTS_FILE}; other weight formats are not supported"),
    }
    Ok(selected)
}

/// First required file that `folder` lacks.
pub(crate) fn first_missing_file(folder: &Path, files: &HubFiles) -> Option<String> {
    let missing = |file: &String| !folder.join(file).exists();
    match files {
        HubFiles::Gguf(file) | HubFiles::DatasetFile(file) => Some(file.clone()).filter(missing),
        HubFiles::WithoutWeights => Some("tokenizer.json".to_string()).filter(missing),
        HubFiles::Model => {
            let index = SafetensorsIndex::open(folder);
            let weights = match &index {
                Ok(Some(index)) => index.files(),
                Ok(None) => BTreeSet::from([WEIGHTS_FILE]),
                Err(_) => return Some(INDEX_FILE.to_string()), // unreadable counts as missing
            };
            [CONFIG].into_iter().chain(weights).map(str::to_string).find(missing)
        }
    }
}
