//! Names of Hub repositories: `owner/name`, optionally with `@revision` and `:file`.

use std::fmt;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use hf_hub::{Repo, RepoType};

/// File extensions of models that are one file of a repository.
const MODEL_EXTENSIONS: [&str; 1] = [".gguf"];
/// File extensions of data files.
const DATASET_EXTENSIONS: [&str; 5] = [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"];

/// True if `text` is a Hub model ID (`owner/name`, optionally with `@revision` and `:file.gguf`)
/// and not a local path. A name that ends like a model file counts as a path even if the file is
/// missing.
pub fn is_hub_id(text: &str) -> bool {
    !is_path(text, &[".gguf", ".bin"]) && HubId::parse(text).is_ok()
}

/// True if `text` is a Hub data set ID (`owner/name:file.jsonl`) and not a local path, by the rules
/// of [`is_hub_id`].
pub fn is_dataset_id(text: &str) -> bool {
    !is_path(text, &DATASET_EXTENSIONS) && HubId::parse_dataset(text).is_ok()
}

/// Hub model ID `text` at `revision`: `owner/name@revision`.
///
/// # Errors
/// When `text` is not an ID, or has a revision.
pub(crate) fn at_revision(text: &str, revision: &str) -> Result<String> {
    let id = HubId::parse(text)?;
    ensure!(id.revision == DEFAULT_REVISION, "`{text}` already has a revision");
    let id = HubId { revision: revision.to_string(), ..id }.to_string();
    HubId::parse(&id).map(|_| id)
}

/// Name and revision of a model: those of a Hub model ID with `@revision`, else `text` alone.
pub(crate) fn split_revision(text: &str) -> (String, Option<String>) {
    let id = HubId::parse(text).ok().filter(|_| is_hub_id(text));
    match id.filter(|id| id.revision != DEFAULT_REVISION) {
        None => (text.to_string(), None),
        Some(id) => {
            let revision = id.revision.clone();
            (HubId { revision: DEFAULT_REVISION.into(), ..id }.to_string(), Some(revision))
        }
    }
}

/// True if `text` is an existing path, or ends like a file with one of `extensions`.
fn is_path(text: &str, extensions: &[&str]) -> bool {
    let is_file_name = !text.contains(':') && extensions.iter().any(|end| text.ends_with(end));
    is_file_name || Path::new(text).exists()
}

/// Branch of an ID without a revision.
pub(crate) const DEFAULT_REVISION: &str = "main";
/// Branch on which the Hub keeps its conversion of a data set to Parquet.
const CONVERTED: &str = "refs/convert/parquet";

/// Parsed Hub ID: `owner/name`, a branch, tag or commit, and optionally a file.
#[derive(Clone)]
pub(super) struct HubId {
    name: String,
    pub(super) revision: String,
    pub(super) file: Option<String>,
    kind: RepoType,
}

impl HubId {
    /// Parses a model ID.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::parse_as(text, RepoType::Model, &MODEL_EXTENSIONS)
    }

    /// Parses a data set ID.
    pub(super) fn parse_dataset(text: &str) -> Result<Self> {
        Self::parse_as(text, RepoType::Dataset, &DATASET_EXTENSIONS)
    }

    fn parse_as(text: &str, kind: RepoType, extensions: &[&str]) -> Result<Self> {
        let (rest, file) =
            text.split_once(':').map_or((text, None), |(rest, file)| (rest, Some(file)));
        let (name, revision) = rest.split_once('@').unwrap_or((rest, DEFAULT_REVISION));
        let is_word = |word: &str| {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            plain && !word.is_empty() && !word.starts_with('.')
        };
        // A folder may be called `a--b`, `a..b` or `a-`, a repository may not.
        let is_name = |word: &str| {
            is_word(word)
                && !word.contains("--")
                && !word.contains("..")
                && !word.ends_with(['-', '.'])
        };
        let is_path = |path: &str| path.split('/').all(is_word);
        let is_file =
            |file: &str| is_path(file) && extensions.iter().any(|end| file.ends_with(end));
        ensure!(
            name.split('/').count() == 2
                && name.split('/').all(is_name)
                && is_path(revision)
                && file.is_none_or(is_file),
            "`{text}` is neither a local path nor owner/name, owner/name@revision or \
             owner/name:file{}",
            extensions[0]
        );
        let file = file.map(str::to_string);
        Ok(Self { name: name.into(), revision: revision.into(), file, kind })
    }

    /// hf-hub handle of `revision` of this repository.
    pub(super) fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.clone(), self.kind, revision.to_string())
    }

    /// True for a model, false for a data set.
    pub(super) fn is_model(&self) -> bool {
        matches!(self.kind, RepoType::Model)
    }

    /// The Hub's conversion of a data set, unless a revision is named, and the data set itself.
    pub(super) fn with_conversion(&self) -> impl Iterator<Item = Self> {
        let converted = Self { revision: CONVERTED.into(), ..self.clone() };
        let converted = (self.revision == DEFAULT_REVISION).then_some(converted);
        converted.into_iter().chain([self.clone()])
    }

    /// `error` of an ID that may be meant as a folder: a run that does not exist looks like one.
    pub(super) fn explain_local(&self, error: anyhow::Error) -> anyhow::Error {
        match self.looks_local() {
            true => anyhow!("there is no folder {self}, and {error:#}"),
            false => error,
        }
    }

    /// True if the ID could also be meant as a path: it names no file, and its owner is a local
    /// folder.
    pub(super) fn looks_local(&self) -> bool {
        self.file.is_none() && Path::new(&self.name).parent().is_some_and(Path::is_dir)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.revision != DEFAULT_REVISION {
            write!(f, "@{}", self.revision)?;
        }
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}
