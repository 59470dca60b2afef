//! Hugging Face Hub client: downloads `owner/name` once, into the cache that all Hugging Face tools
//! share.
//!
//! The first request resolves the revision to a commit and lists its files. All files come from
//! that commit, and the cache's reference is set to it only after the last file has arrived, so a
//! cached model is always complete.

mod id;
mod files;
mod download;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use download::download;
use files::{files_to_download, first_missing_file};
use hf_hub::Cache;
use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder};
use id::HubId;
pub use id::{is_dataset_id, is_hub_id};

use crate::weight_files::SafetensorsIndex;

/// Timeout of the first request. Downloads are not limited.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

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

    fn fetch_id(&self, id: &HubId) -> Result<PathBuf> {
        let folder = match self.access {
            HubAccess::Online => self.fetch_online(id),
            HubAccess::Offline => self.cached(id).with_context(|| {
                let cache = self.cache.display();
                format!(
                    "HF_HUB_OFFLINE is set and {cache} does not contain a complete copy of `{id}`: \
                     unset it once to download"
                )
            }),
        };
        // The name of a run that does not exist looks like an ID.
        let folder = folder.map_err(|error| match id.looks_local() {
            true => anyhow!("there is no folder {id}, and {error:#}"),
            false => error,
        })?;
        Ok(match &id.file {
            Some(file) => folder.join(file),
            None => folder,
        })
    }

    fn fetch_online(&self, id: &HubId) -> Result<PathBuf> {
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').to_string())
            .with_token(self.token.clone());
        let api = api.build().context("setting up the connection to the Hub")?;
        let error = match self.download(&api, id) {
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
        let RepoInfo { sha, siblings } = self.request_info(api, id)?;
        let names: Vec<&str> = siblings.iter().map(|file| &*file.rfilename).collect();
        let cache = Cache::new(self.cache.clone());
        let folder = cache.repo(id.repo(&sha)).pointer_path(&sha);
        let get = |file: &str| {
            if folder.join(file).exists() {
                return Ok(());
            }
            download(api, &cache, &id.repo(&sha), file)
                .with_context(|| format!("downloading {file} of `{id}` from {}", self.endpoint))
        };
        let files =
            files_to_download(id, &names).with_context(|| format!("`{id}` cannot be used"))?;
        files.into_iter().try_for_each(get)?;
        if id.file.is_none()
            && let Some(index) = SafetensorsIndex::open(&folder)?
        {
            index.files().into_iter().try_for_each(get)?;
        }
        if let Some(file) = first_missing_file(&folder, id) {
            bail!("the Hub at {} does not provide {file} of `{id}`", self.endpoint);
        }
        if id.revision != sha {
            let reference = cache.repo(id.repo(&id.revision)).create_ref(&sha);
            reference.with_context(|| format!("writing into {}", self.cache.display()))?;
        }
        Ok(folder)
    }

    /// Resolves `id` to a commit and lists its files.
    fn request_info(&self, api: &Api, id: &HubId) -> Result<RepoInfo> {
        let unusable = |reason| anyhow!("the Hub at {} does not answer ({reason})", self.endpoint);
        let request = api.repo(id.repo(&id.revision)).info_request().config();
        let request =
            request.timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false).build();
        let mut response = request.call().map_err(|error| unusable(error.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 | 404 => bail!(
                "no {} `{id}` on the Hub at {} (private or gated ones need HF_TOKEN)",
                if id.is_model() { "model" } else { "data set" },
                self.endpoint
            ),
            status => return Err(unusable(format!("status {status}"))),
        }
        let body = response.body_mut().read_to_string().map_err(anyhow::Error::from);
        let info: RepoInfo = body
            .and_then(|body| Ok(serde_json::from_str(&body)?))
            .map_err(|error| unusable(format!("unexpected response: {error}")))?;
        // The commit becomes part of a path, so it is checked.
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(unusable(format!("`{}` is not a commit hash", info.sha)));
        }
        Ok(info)
    }

    /// Cache folder that contains all required files of `id`.
    fn cached(&self, id: &HubId) -> Option<PathBuf> {
        let repo = id.repo(&id.revision);
        let reference = self.cache.join(repo.folder_name()).join("refs").join(&id.revision);
        // Without a reference, the revision is a commit.
        let commit = std::fs::read_to_string(reference).unwrap_or_else(|_| id.revision.clone());
        let folder = Cache::new(self.cache.clone()).repo(repo).pointer_path(commit.trim());
        (folder.is_dir() && first_missing_file(&folder, id).is_none()).then_some(folder)
    }
}
