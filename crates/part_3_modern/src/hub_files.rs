//! Which files a model on the Hub consists of, for us.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::weight_files::{INDEX, Index, WEIGHTS};

/// What is wanted of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// Weights (safetensors), configuration, tokenizer and chat template.
    Model,
    /// All but the weights.
    Tokenizer,
    /// This one GGUF file, which holds everything.
    Gguf(String),
    /// This one file of a data set.
    Data(String),
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
pub(crate) fn wanted<'a>(files: &'a Files, names: &[&str]) -> Result<Vec<&'a str>> {
    let has = |name: &str| names.contains(&name);
    let listed = |ending: &str| {
        let names: Vec<&str> =
            names.iter().copied().filter(|name| name.ends_with(ending)).collect();
        names.join(", ")
    };
    if let Files::Gguf(file) = files {
        ensure!(has(file), "it has no {file}; it has: {}", listed(".gguf"));
        return Ok(vec![file]);
    }
    let mut wanted: Vec<&str> = OPTIONAL.into_iter().filter(|file| has(file)).collect();
    if let Files::Data(file) = files {
        ensure!(has(file), "it has no {file}; it has: {}", listed(""));
        return Ok(vec![file]);
    }
    if *files == Files::Tokenizer {
        wanted.extend([CONFIG].into_iter().filter(|file| has(file)));
        return Ok(wanted);
    }
    let gguf = listed(".gguf");
    match () {
        () if !(has(CONFIG) && (has(WEIGHTS) || has(INDEX))) && !gguf.is_empty() => {
            bail!("name one of its files as owner/name:file.gguf: {gguf}")
        }
        () if !has(CONFIG) => bail!("it has no {CONFIG}, so it is no model for transformers"),
        () if has(WEIGHTS) => wanted.extend([CONFIG, WEIGHTS]),
        () if has(INDEX) => wanted.extend([CONFIG, INDEX]),
        () => bail!("it has no {WEIGHTS}; other formats of weights are not read here"),
    }
    Ok(wanted)
}

/// The first file that `folder` lacks to be whole.
pub(crate) fn missing(folder: &Path, files: &Files) -> Option<String> {
    let lacks = |file: &String| !folder.join(file).exists();
    match files {
        Files::Gguf(file) | Files::Data(file) => Some(file.clone()).filter(lacks),
        Files::Tokenizer => Some("tokenizer.json".to_string()).filter(lacks),
        Files::Model => {
            let index = Index::open(folder);
            let weights = match &index {
                Ok(Some(index)) => index.files(),
                Ok(None) => BTreeSet::from([WEIGHTS]),
                Err(_) => return Some(INDEX.to_string()), // as good as missing
            };
            [CONFIG].into_iter().chain(weights).map(str::to_string).find(lacks)
        }
    }
}
