//! Hugging Face Hub client: downloads `owner/name` once, into the cache that all Hugging Face tools
//! share.
//!
//! The first request resolves the revision to a commit and lists its files. All files come from
//! that commit, and the cache's reference is set to it only after the last file has arrived, so a
//! cached model is always complete.

mod id;
mod files;
mod request;
mod download;
mod cached;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use download::download;
use files::{files_to_download, first_missing_file};
use hf_hub::Cache;
use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder};
use id::HubId;
pub(crate) use id::{DEFAULT_REVISION, at_revision, split_revision};
pub use id::{is_dataset_id, is_hub_id};

use crate::weight_files::WeightIndex;

/// Selection among the names of a data set's files.
type SelectFiles<'a> = dyn Fn(&[&str]) -> Result<Vec<String>> + 'a;

/// Network access: online or cache only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubAccess {
    /// Requests are allowed. Cached files of the current commit are reused; the cache also serves
    /// as the fallback when the Hub is unavailable.
    Online,
    /// Requests are disabled: cache only.
    Offline,
}

/// Hub connection: endpoint, cache folder and credentials.
#[derive(Clone)]
pub struct Hub {
    /// Base URL of the Hub or of a mirror.
    pub endpoint: String,
    /// Cache folder, with one subfolder per repository.
    pub cache: PathBuf,
    /// Access token; needed for private and gated repositories.
    pub token: Option<String>,
    /// Network access.
    pub access: HubAccess,
}

/// Downloads model `id` unless it is cached: [`Hub::fetch`] with the settings of the environment.
///
/// # Errors
/// Those of [`Hub::fetch`].
pub fn fetch_from_hub(id: &str) -> Result<PathBuf> {
    Hub::from_env().fetch(id)
}

/// Downloads the data set file `owner/name:file` unless it is cached. Returns its path in the
/// cache.
///
/// # Errors
/// When no file is named; those of [`Hub::fetch`].
pub fn fetch_dataset_file(id: &str) -> Result<PathBuf> {
    Hub::from_env().fetch_dataset_file(id)
}

/// Downloads the files of data set `owner/name` that `select` picks: [`Hub::fetch_dataset`] with
/// the settings of the environment.
///
/// # Errors
/// Those of [`Hub::fetch_dataset`].
pub fn fetch_dataset(id: &str, select: &SelectFiles<'_>) -> Result<Vec<PathBuf>> {
    Hub::from_env().fetch_dataset(id, select)
}

impl Hub {
    /// Settings from the environment variables of the Hugging Face tools: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE` or `HF_HOME`, `HF_TOKEN` (or the token saved by `hf auth login`) and
    /// `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache =
            variable("HF_HUB_CACHE").map_or_else(Cache::from_env, |path| Cache::new(path.into()));
        let offline = variable("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
        });
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            token: variable("HF_TOKEN").or_else(|| Cache::from_env().token()),
            cache: cache.path().clone(),
            access: if offline { HubAccess::Offline } else { HubAccess::Online },
        }
    }

    /// Folder of model `owner/name` or `owner/name@revision`, downloaded if necessary; for
    /// `owner/name:file.gguf`, the path of that file.
    ///
    /// # Errors
    /// When the cache lacks a complete copy and the Hub is unreachable, access is offline, the
    /// model does not exist, or access to it is denied; when the model lacks a required file; when
    /// the disk is full.
    pub fn fetch(&self, id: &str) -> Result<PathBuf> {
        self.fetch_id(&HubId::parse(id)?)
    }

    /// Path of the data set file `owner/name:file`, downloaded if necessary.
    ///
    /// # Errors
    /// When no file is named; those of [`Hub::fetch`].
    pub fn fetch_dataset_file(&self, id: &str) -> Result<PathBuf> {
        let id = HubId::parse_dataset(id)?;
        ensure!(
            id.file.is_some(),
            "name one of its files as {id}:file.jsonl (.json or .jsonl, either with .gz)"
        );
        self.fetch_id(&id)
    }

    /// Paths of the files that `select` picks among those of data set `owner/name` or
    /// `owner/name@revision`, downloaded if necessary. Unless a revision is named, the Hub's
    /// conversion to Parquet comes first, whose file names follow one layout.
    ///
    /// # Errors
    /// When `select` fails; those of [`Hub::fetch`].
    pub fn fetch_dataset(&self, id: &str, select: &SelectFiles<'_>) -> Result<Vec<PathBuf>> {
        let id = &HubId::parse_dataset(id)?;
        let error = match self.access {
            HubAccess::Online => match self.download_selected(id, select) {
                Ok(files) => return Ok(files),
                Err(error) => error,
            },
            HubAccess::Offline => self.not_cached(id),
        };
        match id.with_conversion().find_map(|id| self.select_cached(&id, select)) {
            Some(files) => {
                if self.access == HubAccess::Online {
                    eprintln!("using the cached copy of `{id}`: {error:#}");
                }
                Ok(files)
            }
            None => Err(id.explain_local(error)),
        }
    }

    fn fetch_id(&self, id: &HubId) -> Result<PathBuf> {
        let folder = match self.access {
            HubAccess::Online => self.fetch_online(id),
            HubAccess::Offline => self.cached(id).ok_or_else(|| self.not_cached(id)),
        };
        let folder = folder.map_err(|error| id.explain_local(error))?;
        Ok(match &id.file {
            Some(file) => folder.join(file),
            None => folder,
        })
    }

    /// Error of an offline access.
    fn not_cached(&self, id: &HubId) -> anyhow::Error {
        let cache = self.cache.display();
        anyhow!(
            "HF_HUB_OFFLINE is set and {cache} does not contain a complete copy of `{id}`: unset \
             it once to download"
        )
    }

    fn api(&self) -> Result<Api> {
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').to_string())
            .with_token(self.token.clone());
        api.build().context("setting up the connection to the Hub")
    }

    fn fetch_online(&self, id: &HubId) -> Result<PathBuf> {
        let error = match self.download(&self.api()?, id) {
            Ok(folder) => return Ok(folder),
            Err(error) => error,
        };
        match self.cached(id) {
            Some(folder) => {
                let error = format!("{error:#}"); // may quote what the server answered
                eprintln!("using the cached copy of `{id}`: {}", error.escape_debug());
                Ok(folder)
            }
            None if id.looks_local() => Err(error),
            None => Err(error.context(format!(
                "`{id}` is neither in the cache nor a local folder, and the download failed"
            ))),
        }
    }

    /// Downloads the missing files of the current commit into the cache, then sets the revision's
    /// reference.
    fn download(&self, api: &Api, id: &HubId) -> Result<PathBuf> {
        let commit = self.request_info(api, id)?.with_context(|| self.does_not_exist(id))?;
        let names: Vec<&str> = commit.siblings.iter().map(|file| &*file.rfilename).collect();
        let files =
            files_to_download(id, &names).with_context(|| format!("`{id}` cannot be used"))?;
        let folder = self.download_files(api, id, &commit.sha, files)?;
        if id.file.is_none()
            && let Some(index) = WeightIndex::open(&folder)?
        {
            self.download_files(api, id, &commit.sha, index.files())?;
        }
        if let Some(file) = first_missing_file(&folder, id) {
            bail!("the Hub at {} does not provide {file} of `{id}`", self.endpoint);
        }
        self.set_reference(id, &commit.sha)?;
        Ok(folder)
    }

    /// Downloads the files that `select` picks, as far as they are missing.
    fn download_selected(&self, id: &HubId, select: &SelectFiles<'_>) -> Result<Vec<PathBuf>> {
        let api = self.api()?;
        let mut failure = None;
        for id in id.with_conversion() {
            let Some(RepoInfo { sha, siblings }) = self.request_info(&api, &id)? else { continue };
            let names: Vec<&str> = siblings.iter().map(|file| &*file.rfilename).collect();
            match select(&names) {
                Ok(files) => {
                    let names = files.iter().map(String::as_str);
                    let folder = self.download_files(&api, &id, &sha, names)?;
                    self.set_reference(&id, &sha)?;
                    return Ok(files.iter().map(|file| folder.join(file)).collect());
                }
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        let cause = failure.map(|error| error.context(format!("`{id}` cannot be used")));
        Err(cause.unwrap_or_else(|| anyhow!(self.does_not_exist(id))))
    }

    /// Downloads those of `files` of commit `sha` that its folder lacks, and returns the folder.
    fn download_files<'a>(
        &self,
        api: &Api,
        id: &HubId,
        sha: &str,
        files: impl IntoIterator<Item = &'a str>,
    ) -> Result<PathBuf> {
        let cache = Cache::new(self.cache.clone());
        let folder = cache.repo(id.repo(sha)).pointer_path(sha);
        for file in files {
            if !folder.join(file).exists() {
                download(api, &cache, &id.repo(sha), file).with_context(|| {
                    format!("downloading {file} of `{id}` from {}", self.endpoint)
                })?;
            }
        }
        Ok(folder)
    }
}
