//! Which files a model on the Hub consists of, for us.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::weight_files::{INDEX_FILE, SafetensorsIndex, WEIGHTS_FILE};

/// What is wanted of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubFiles {
    /// Weights (safetensors), configuration, tokenizer and chat template.
    Model,
    /// All but the weights.
    Tokenizer,
    /// This one GGUF file, which holds everything.
    Gguf(String),
    /// This one file of a data set.
    DatasetFile(String),
}

const CONFIG: &str = "config.json";
/// A model may lack these.
const OPTIONAL: [&str; 5] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// What to download, given the `names` of all files that there are; the files that [`INDEX`] names come after.
pub(crate) fn files_to_download<'a>(files: &'a HubFiles, names: &[&str]) -> Result<Vec<&'a str>> {
    let has = |name: &str| names.contains(&name);
    let listed = |ending: &str| {
        let names: Vec<&str> =
            names.iter().copied().filter(|name| name.ends_with(ending)).collect();
        names.join(", ")
    };
    if let HubFiles::Gguf(file) = files {
        ensure!(has(file), "it has no {file}; it has: {}", listed(".gguf"));
        return Ok(vec![file]);
    }
    let mut wanted: Vec<&str> = OPTIONAL.into_iter().filter(|file| has(file)).collect();
    if let HubFiles::DatasetFile(file) = files {
        ensure!(has(file), "it has no {file}; it has: {}", listed(""));
        return Ok(vec![file]);
    }
    if *files == HubFiles::Tokenizer {
        wanted.extend([CONFIG].into_iter().filter(|file| has(file)));
        return Ok(wanted);
    }
    let gguf = listed(".gguf");
    match () {
        () if !(has(CONFIG) && (has(WEIGHTS_FILE) || has(INDEX_FILE))) && !gguf.is_empty() => {
            bail!("name one of its files as owner/name:file.gguf: {gguf}")
        }
        () if !has(CONFIG) => bail!("it has no {CONFIG}, so it is no model for transformers"),
        () if has(WEIGHTS_FILE) => wanted.extend([CONFIG, WEIGHTS_FILE]),
        () if has(INDEX_FILE) => wanted.extend([CONFIG, INDEX_FILE]),
        () => bail!("it has no {WEIGHTS_FILE}; other formats of weights are not read here"),
    }
    Ok(wanted)
}

/// The first file that `folder` lacks to be whole.
pub(crate) fn first_missing_file(folder: &Path, files: &HubFiles) -> Option<String> {
    let lacks = |file: &String| !folder.join(file).exists();
    match files {
        HubFiles::Gguf(file) | HubFiles::DatasetFile(file) => Some(file.clone()).filter(lacks),
        HubFiles::Tokenizer => Some("tokenizer.json".to_string()).filter(lacks),
        HubFiles::Model => {
            let index = SafetensorsIndex::open(folder);
            let weights = match &index {
                Ok(Some(index)) => index.files(),
                Ok(None) => BTreeSet::from([WEIGHTS_FILE]),
                Err(_) => return Some(INDEX_FILE.to_string()), // as good as missing
            };
            [CONFIG].into_iter().chain(weights).map(str::to_string).find(lacks)
        }
    }
}
