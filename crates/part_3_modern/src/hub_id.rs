//! How a model on the Hub is named: `owner/name`, and if need be which revision and which file of it.

use std::path::Path;

use anyhow::{Result, ensure};
use hf_hub::{Repo, RepoType};

/// Whether `text` names a model of the Hub (`owner/name`, `@revision` and `:file.gguf` if need be) and no path here. A name
/// like a file's is a path, even of a file that there is not.
pub fn is_hub_id(text: &str) -> bool {
    let file = !text.contains(':') && [".gguf", ".bin"].iter().any(|end| text.ends_with(end));
    !file && !Path::new(text).exists() && HubId::parse(text).is_ok()
}

/// Whether `text` names a data set of the Hub (`owner/name:file.jsonl`), in the same sense.
pub fn is_dataset_id(text: &str) -> bool {
    let file = !text.contains(':') && DATASET_EXTENSIONS.iter().any(|end| text.ends_with(end));
    !file && !Path::new(text).exists() && HubId::parse_dataset(text).is_ok()
}

/// Endings of data files.
const DATASET_EXTENSIONS: [&str; 5] = [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"];

/// `owner/name`, a branch, tag or commit, and perhaps one file.
pub(crate) struct HubId {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) file: Option<String>,
    pub(crate) kind: RepoType,
}

impl HubId {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Self::parse_as(text, RepoType::Model, &[".gguf"])
    }

    /// Of a data set.
    pub(crate) fn parse_dataset(text: &str) -> Result<Self> {
        Self::parse_as(text, RepoType::Dataset, &DATASET_EXTENSIONS)
    }

    fn parse_as(text: &str, kind: RepoType, endings: &[&str]) -> Result<Self> {
        let (rest, file) =
            text.split_once(':').map_or((text, None), |(rest, file)| (rest, Some(file)));
        let (name, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let word = |word: &str| {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            plain && !word.is_empty() && !word.starts_with('.')
        };
        let path = |path: &str| path.split('/').all(word);
        let whole = name.split('/').count() == 2 && path(name) && path(revision);
        ensure!(
            whole
                && file
                    .is_none_or(|file| path(file) && endings.iter().any(|end| file.ends_with(end))),
            "`{text}` is neither a path here nor owner/name, owner/name@revision or owner/name:file{}",
            endings[0]
        );
        let file = file.map(str::to_string);
        Ok(Self { name: name.into(), revision: revision.into(), file, kind })
    }

    /// Where hf-hub keeps `revision` of it.
    pub(crate) fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.clone(), self.kind, revision.to_string())
    }

    /// What it names.
    pub(crate) fn kind_name(&self) -> &'static str {
        if matches!(self.kind, RepoType::Model) { "model" } else { "data set" }
    }
}

impl std::fmt::Display for HubId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}
