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
use tensor_core::regular_file;

use crate::weight_files::WeightIndex;

/// Selection among the names of a data set's files.
type SelectFiles<'a> = dyn Fn(&[&str]) -> Result<Vec<String>> + 'a;

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

    /// Sets the reference of the revision to commit `sha`.
    fn set_reference(&self, id: &HubId, sha: &str) -> Result<()> {
        if id.revision != sha {
            let reference = Cache::new(self.cache.clone()).repo(id.repo(&id.revision));
            let reference = reference.create_ref(sha);
            reference.with_context(|| format!("writing into {}", self.cache.display()))?;
        }
        Ok(())
    }

    /// Message that there is no repository or revision `id`.
    fn does_not_exist(&self, id: &HubId) -> String {
        let kind = if id.is_model() { "model" } else { "data set" };
        let endpoint = &self.endpoint;
        format!("no {kind} `{id}` on the Hub at {endpoint} (private or gated ones need HF_TOKEN)")
    }

    /// Resolves `id` to a commit and lists its files; `None` if there is no such repository or
    /// revision.
    fn request_info(&self, api: &Api, id: &HubId) -> Result<Option<RepoInfo>> {
        let unusable = |reason| anyhow!("the Hub at {} does not answer ({reason})", self.endpoint);
        let request = api.repo(id.repo(&id.revision)).info_request().config();
        let request =
            request.timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false).build();
        let mut response = request.call().map_err(|error| unusable(error.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 | 404 => return Ok(None),
            status => return Err(unusable(format!("status {status}"))),
        }
        let body = response.body_mut().read_to_string().map_err(anyhow::Error::from);
        let mut info: RepoInfo = body
            .and_then(|body| Ok(serde_json::from_str(&body)?))
            .map_err(|error| unusable(format!("unexpected response: {error}")))?;
        // The commit becomes part of a path, so it is checked.
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(unusable(format!("`{}` is not a commit hash", info.sha)));
        }
        // And so do the names.
        let is_inside = |name: &str| {
            !name.split(['/', '\\']).any(|part| part.is_empty() || part.starts_with('.'))
        };
        info.siblings.retain(|file| is_inside(&file.rfilename));
        Ok(Some(info))
    }

    /// Cache folder that contains all required files of `id`.
    fn cached(&self, id: &HubId) -> Option<PathBuf> {
        self.cached_commit(id).filter(|folder| first_missing_file(folder, id).is_none())
    }

    /// Files that `select` picks among those of `id` in the cache.
    fn select_cached(&self, id: &HubId, select: &SelectFiles<'_>) -> Option<Vec<PathBuf>> {
        let folder = self.cached_commit(id)?;
        let names = regular_file::list(&folder).ok()?;
        let files = select(&names.iter().map(String::as_str).collect::<Vec<_>>()).ok()?;
        Some(files.iter().map(|file| folder.join(file)).collect())
    }

    /// Cache folder of the commit that `id` was resolved to.
    fn cached_commit(&self, id: &HubId) -> Option<PathBuf> {
        let repo = id.repo(&id.revision);
        let reference = self.cache.join(repo.folder_name()).join("refs").join(&id.revision);
        // Without a reference, the revision is a commit.
        let commit = std::fs::read_to_string(reference).unwrap_or_else(|_| id.revision.clone());
        let folder = Cache::new(self.cache.clone()).repo(repo).pointer_path(commit.trim());
        folder.is_dir().then_some(folder)
    }
}
