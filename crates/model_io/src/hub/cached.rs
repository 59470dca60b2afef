//! The cache that all Hugging Face tools share: a folder for each commit of a repository, and a
//! reference from a revision to its commit.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hf_hub::Cache;
use tensor_core::regular_file;

use super::files::first_missing_file;
use super::id::HubId;
use super::{Hub, SelectFiles};

impl Hub {
    /// Cache folder that contains all required files of `id`.
    pub(super) fn cached(&self, id: &HubId) -> Option<PathBuf> {
        self.cached_commit(id).filter(|folder| first_missing_file(folder, id).is_none())
    }

    /// Files that `select` picks among those of `id` in the cache.
    pub(super) fn select_cached(
        &self,
        id: &HubId,
        select: &SelectFiles<'_>,
    ) -> Option<Vec<PathBuf>> {
        let folder = self.cached_commit(id)?;
        let names = regular_file::list(&folder).ok()?;
        let files = select(&names.iter().map(String::as_str).collect::<Vec<_>>()).ok()?;
        Some(files.iter().map(|file| folder.join(file)).collect())
    }

    /// Cache folder of the commit that `id` was resolved to.
    pub(super) fn cached_commit(&self, id: &HubId) -> Option<PathBuf> {
        let repo = id.repo(&id.revision);
        let reference = self.cache.join(repo.folder_name()).join("refs").join(&id.revision);
        // Without a reference, the revision is a commit.
        let commit = std::fs::read_to_string(reference).unwrap_or_else(|_| id.revision.clone());
        let folder = Cache::new(self.cache.clone()).repo(repo).pointer_path(commit.trim());
        folder.is_dir().then_some(folder)
    }

    /// Sets the reference of the revision to commit `sha`.
    pub(super) fn set_reference(&self, id: &HubId, sha: &str) -> Result<()> {
        if id.revision != sha {
            let reference = Cache::new(self.cache.clone()).repo(id.repo(&id.revision));
            let reference = reference.create_ref(sha);
            reference.with_context(|| format!("writing into {}", self.cache.display()))?;
        }
        Ok(())
    }
}
