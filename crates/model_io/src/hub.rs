//! Hugging Face Hub client: downloads `owner/name` once, into the cache that all Hugging Face tools
//! share.
//!
//! The first request resolves the revision to a commit and lists its files. All files come from
//! that commit, and the cache's reference is set to it only after the last file has arrived, so a
//! cached model is always complete.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::Cache;
use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder};

use crate::hub_download::download;
use crate::hub_files::{HubFiles, files_to_download, first_missing_file};
use crate::hub_id::HubId;
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
pub fn fetch_from_hub(id: &str, files: HubFiles) -> Result<PathBuf> {
    Hub::from_env().fetch(id, files)
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
    pub fn fetch(&self, id: &str, files: HubFiles) -> Result<PathBuf> {
        let id = HubId::parse(id)?;
        let files = id.file.as_ref().map_or(files, |file| HubFiles::Gguf(file.clone()));
        self.fetch_files(&id, files)
    }

    /// Path of the data set file `owner/name:file`, downloaded if necessary.
    ///
    /// # Errors
    /// When no file is named; those of [`Hub::fetch`].
    pub fn fetch_dataset_file(&self, id: &str) -> Result<PathBuf> {
        let id = HubId::parse_dataset(id)?;
        let file = id.file.clone().with_context(|| {
            format!("name one of its files as {id}:file.jsonl (.json or .jsonl, either with .gz)")
        })?;
        self.fetch_files(&id, HubFiles::DatasetFile(file))
    }

    fn fetch_files(&self, id: &HubId, files: HubFiles) -> Result<PathBuf> {
        let result = match self.access {
            HubAccess::Online => self.fetch_online(id, &files),
            HubAccess::Offline => self.cached(id, &files).with_context(|| {
                let cache = self.cache.display();
                format!(
                    "HF_HUB_OFFLINE is set and {cache} does not contain a complete copy of `{id}`: \
                     unset it once to download"
                )
            }),
        };
        Ok(match files {
            HubFiles::Gguf(file) | HubFiles::DatasetFile(file) => result?.join(file),
            HubFiles::Model | HubFiles::WithoutWeights => result?,
        })
    }

    fn fetch_online(&self, id: &HubId, files: &HubFiles) -> Result<PathBuf> {
        let api = self.api()?;
        let error = match self.request_info(&api, id) {
            RepoInfoResponse::Found(info) => match self.fetch_commit(&api, id, files, &info) {
                Ok(folder) => return Ok(folder),
                Err(error) => error,
            },
            RepoInfoResponse::NotFound => anyhow!(
                "no {} `{id}` on the Hub at {} (private or gated ones need HF_TOKEN)",
                id.kind_name(),
                self.endpoint
            ),
            RepoInfoResponse::Unavailable(reason) => {
                anyhow!("the Hub at {} does not answer ({reason})", self.endpoint)
            }
        };
        let Some(folder) = self.cached(id, files) else {
            return Err(error.context(format!(
                "`{id}` is neither in the cache nor a local folder, and the download failed"
            )));
        };
        eprintln!("using the cached copy of `{id}`: {error:#}");
        Ok(folder)
    }

    fn api(&self) -> Result<Api> {
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').to_string())
            .with_token(self.token.clone());
        api.build().context("setting up the connection to the Hub")
    }

    /// Resolves `id` to a commit and lists its files.
    fn request_info(&self, api: &Api, id: &HubId) -> RepoInfoResponse {
        let request = api.repo(id.repo(&id.revision)).info_request().config();
        let request =
            request.timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false).build();
        let mut response = match request.call() {
            Ok(response) => response,
            Err(error) => return RepoInfoResponse::Unavailable(error.to_string()),
        };
        match response.status().as_u16() {
            200 => {}
            401 | 403 | 404 => return RepoInfoResponse::NotFound,
            status => return RepoInfoResponse::Unavailable(format!("status {status}")),
        }
        let body = response.body_mut().read_to_string().map_err(anyhow::Error::from);
        match body.and_then(|body| Ok(serde_json::from_str::<RepoInfo>(&body)?)) {
            // The commit becomes part of a path, so it is checked first.
            Ok(info)
                if !info.sha.is_empty() && info.sha.chars().all(|c| c.is_ascii_alphanumeric()) =>
            {
                RepoInfoResponse::Found(info)
            }
            Ok(info) => {
                RepoInfoResponse::Unavailable(format!("`{}` is not a commit hash", info.sha))
            }
            Err(error) => RepoInfoResponse::Unavailable(format!("unexpected response: {error}")),
        }
    }

    /// Downloads the missing files of a commit into the cache, then sets the revision's reference.
    fn fetch_commit(
        &self,
        api: &Api,
        id: &HubId,
        files: &HubFiles,
        info: &RepoInfo,
    ) -> Result<PathBuf> {
        let names: Vec<&str> = info.siblings.iter().map(|file| &*file.rfilename).collect();
        let cache = Cache::new(self.cache.clone());
        let folder = cache.repo(id.repo(&info.sha)).pointer_path(&info.sha);
        let get = |file: &str| {
            if folder.join(file).exists() {
                return Ok(());
            }
            let repo = id.repo(&info.sha);
            download(api, &cache, &repo, file)
                .with_context(|| format!("downloading {file} of `{id}` from {}", self.endpoint))
        };
        for file in
            files_to_download(files, &names).with_context(|| format!("`{id}` cannot be used"))?
        {
            get(file)?;
        }
        if *files == HubFiles::Model
            && let Some(index) = SafetensorsIndex::open(&folder)?
        {
            for file in index.files() {
                get(file)?;
            }
        }
        if let Some(file) = first_missing_file(&folder, files) {
            bail!("the Hub at {} does not provide {file} of `{id}`", self.endpoint);
        }
        if id.revision != info.sha {
            let reference = cache.repo(id.repo(&id.revision)).create_ref(&info.sha);
            reference.with_context(|| format!("writing into {}", self.cache.display()))?;
        }
        Ok(folder)
    }

    /// Cache folder that contains all of `files`.
    fn cached(&self, id: &HubId, files: &HubFiles) -> Option<PathBuf> {
        let cache = Cache::new(self.cache.clone()).repo(id.repo(&id.revision));
        let commit = cache.pointer_path(&id.revision); // used if the revision is a commit
        let reference =
            self.cache.join(id.repo(&id.revision).folder_name()).join("refs").join(&id.revision);
        let folder = match std::fs::read_to_string(reference) {
            Ok(commit) => cache.pointer_path(commit.trim()),
            Err(_) => commit,
        };
        (folder.is_dir() && first_missing_file(&folder, files).is_none()).then_some(folder)
    }
}

/// Hub response to the request for a repository.
enum RepoInfoResponse {
    /// Commit and file list.
    Found(RepoInfo),
    /// Missing repository or denied access.
    NotFound,
    /// Unreachable Hub or unusable response, with the reason.
    Unavailable(String),
}
