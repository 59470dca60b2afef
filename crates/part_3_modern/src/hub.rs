//! Models by name: `owner/name` is downloaded once, into the cache that all Hugging Face tools share.
//!
//! The Hub is asked first which commit a name stands for and which files that has; then every file comes from that one
//! commit, and the name points to it in the cache only when all are there. So what is cached is whole.

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

/// The first question is answered quickly or not at all; downloads have no limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether the Hub may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubAccess {
    /// Yes; the cache is used for what it has of the present commit, and where the Hub gives nothing.
    Online,
    /// No: the cache alone.
    Offline,
}

/// Where models come from and are kept.
#[derive(Clone)]
pub struct Hub {
    /// The Hub, or a mirror of it.
    pub endpoint: String,
    /// The folder of the cache, which has a folder per model.
    pub cache: PathBuf,
    /// Who asks; private and gated models want to know.
    pub token: Option<String>,
    /// Whether the Hub may be asked.
    pub access: HubAccess,
}

/// Downloads model `id` from the Hub, unless it is in the cache: [`Hub::fetch`] as the environment sets it up.
///
/// # Errors
/// As [`Hub::fetch`].
pub fn fetch_from_hub(id: &str, files: HubFiles) -> Result<PathBuf> {
    Hub::from_env().fetch(id, files)
}

/// Downloads the file of data set `owner/name:file` from the Hub, unless it is in the cache: its path there.
///
/// # Errors
/// When no file is named, and as [`Hub::fetch`].
pub fn fetch_dataset_file(id: &str) -> Result<PathBuf> {
    Hub::from_env().fetch_dataset_file(id)
}

impl Hub {
    /// As the variables say that all Hugging Face tools read: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`, `HF_TOKEN`
    /// (or the token that `hf auth login` left) and `HF_HUB_OFFLINE`.
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

    /// The folder of model `owner/name` or `owner/name@revision`, downloaded if need be; for `owner/name:file.gguf`,
    /// the path of that one file.
    ///
    /// # Errors
    /// When the cache has no whole copy, and the Hub does not answer, must not be asked, or has no such model or none for
    /// us; when the model lacks a needed file; when the disk is full.
    pub fn fetch(&self, id: &str, files: HubFiles) -> Result<PathBuf> {
        let id = HubId::parse(id)?;
        let files = id.file.as_ref().map_or(files, |file| HubFiles::Gguf(file.clone()));
        self.fetch_files(&id, files)
    }

    /// The path of the file of data set `owner/name:file`, downloaded if need be.
    ///
    /// # Errors
    /// When no file is named, and as [`Hub::fetch`].
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
                format!("HF_HUB_OFFLINE is set and {cache} has no whole copy of `{id}`: unset it once to download")
            }),
        };
        Ok(match files {
            HubFiles::Gguf(file) | HubFiles::DatasetFile(file) => result?.join(file),
            HubFiles::Model | HubFiles::Tokenizer => result?,
        })
    }

    fn fetch_online(&self, id: &HubId, files: &HubFiles) -> Result<PathBuf> {
        let api = self.api()?;
        let failure = match self.request_info(&api, id) {
            RepoInfoResponse::Found(info) => match self.fetch_commit(&api, id, files, &info) {
                Ok(folder) => return Ok(folder),
                Err(failure) => failure,
            },
            RepoInfoResponse::NotFound => anyhow!(
                "no {} `{id}` on the Hub at {} (private or gated ones need HF_TOKEN)",
                id.kind_name(),
                self.endpoint
            ),
            RepoInfoResponse::Unavailable(why) => {
                anyhow!("the Hub at {} does not answer ({why})", self.endpoint)
            }
        };
        let Some(folder) = self.cached(id, files) else {
            return Err(failure.context(format!(
                "`{id}` is not in the cache nor a folder here, and could not be downloaded"
            )));
        };
        eprintln!("using the cached copy of `{id}`: {failure:#}");
        Ok(folder)
    }

    fn api(&self) -> Result<Api> {
        let api = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').to_string())
            .with_token(self.token.clone());
        api.build().context("setting up the connection to the Hub")
    }

    /// Asks which commit `id` stands for, and what files that has.
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
            // The commit becomes part of a path.
            Ok(info)
                if !info.sha.is_empty() && info.sha.chars().all(|c| c.is_ascii_alphanumeric()) =>
            {
                RepoInfoResponse::Found(info)
            }
            Ok(info) => RepoInfoResponse::Unavailable(format!("`{}` is no commit", info.sha)),
            Err(error) => RepoInfoResponse::Unavailable(format!("not as a Hub does: {error}")),
        }
    }

    /// Brings what is missing of a commit into the cache, then lets the revision point to it.
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
            bail!("the Hub at {} gave `{id}` without {file}", self.endpoint);
        }
        if id.revision != info.sha {
            let reference = cache.repo(id.repo(&id.revision)).create_ref(&info.sha);
            reference.with_context(|| format!("writing into {}", self.cache.display()))?;
        }
        Ok(folder)
    }

    /// The folder of the cache that has all of `files`.
    fn cached(&self, id: &HubId, files: &HubFiles) -> Option<PathBuf> {
        let cache = Cache::new(self.cache.clone()).repo(id.repo(&id.revision));
        let commit = cache.pointer_path(&id.revision); // if the revision is a commit itself
        let reference =
            self.cache.join(id.repo(&id.revision).folder_name()).join("refs").join(&id.revision);
        let folder = match std::fs::read_to_string(reference) {
            Ok(commit) => cache.pointer_path(commit.trim()),
            Err(_) => commit,
        };
        (folder.is_dir() && first_missing_file(&folder, files).is_none()).then_some(folder)
    }
}

/// What the Hub says to a name.
enum RepoInfoResponse {
    /// Its commit and files.
    Found(RepoInfo),
    /// There is none, or not for us.
    NotFound,
    /// Nothing that can be used, and why.
    Unavailable(String),
}
