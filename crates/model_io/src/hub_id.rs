//! Names of Hub repositories: `owner/name`, optionally with `@revision` and `:file`.

use std::path::Path;

use anyhow::{Result, ensure};
use hf_hub::{Repo, RepoType};

/// True if `text` is a Hub model ID (`owner/name`, optionally with `@revision` and `:file.gguf`)
/// and not a local path. A name that ends like a model file counts as a path even if the file is
/// missing.
pub fn is_hub_id(text: &str) -> bool {
    let file = !text.contains(':') && [".gguf", ".bin"].iter().any(|end| text.ends_with(end));
    !file && !Path::new(text).exists() && HubId::parse(text).is_ok()
}

/// True if `text` is a Hub data set ID (`owner/name:file.jsonl`) and not a local path, by the rules
/// of [`is_hub_id`].
pub fn is_dataset_id(text: &str) -> bool {
    let file = !text.contains(':') && DATASET_EXTENSIONS.iter().any(|end| text.ends_with(end));
    !file && !Path::new(text).exists() && HubId::parse_dataset(text).is_ok()
}

/// File extensions of data files.
const DATASET_EXTENSIONS: [&str; 5] = [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"];

/// Parsed Hub ID: `owner/name`, a branch, tag or commit, and optionally a file.
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

    /// Parses a data set ID.
    pub(crate) fn parse_dataset(text: &str) -> Result<Self> {
        Self::parse_as(text, RepoType::Dataset, &DATASET_EXTENSIONS)
    }

    fn parse_as(text: &str, kind: RepoType, extensions: &[&str]) -> Result<Self> {
        let (rest, file) =
            text.split_once(':').map_or((text, None), |(rest, file)| (rest, Some(file)));
        let (name, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let word = |word: &str| {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            plain && !word.is_empty() && !word.starts_with('.')
        };
        let path = |path: &str| path.split('/').all(word);
        let valid = name.split('/').count() == 2 && path(name) && path(revision);
        ensure!(
            valid
                && file.is_none_or(
                    |file| path(file) && extensions.iter().any(|end| file.ends_with(end))
                ),
            "`{text}` is neither a local path nor owner/name, owner/name@revision or \
             owner/name:file{}",
            extensions[0]
        );
        let file = file.map(str::to_string);
        Ok(Self { name: name.into(), revision: revision.into(), file, kind })
    }

    /// hf-hub handle of `revision` of this repository.
    pub(crate) fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.clone(), self.kind, revision.to_string())
    }

    /// Kind of the repository, for messages.
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
