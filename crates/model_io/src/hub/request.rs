//! The first request: the commit of a revision, and the names of its files.

use std::time::Duration;

use anyhow::{Result, anyhow};
use hf_hub::api::RepoInfo;
use hf_hub::api::sync::Api;

use super::Hub;
use super::id::HubId;

/// Timeout of the first request. Downloads are not limited.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

impl Hub {
    /// Resolves `id` to a commit and lists its files; `None` if there is no such repository or
    /// revision.
    pub(super) fn request_info(&self, api: &Api, id: &HubId) -> Result<Option<RepoInfo>> {
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

    /// Message that there is no repository or revision `id`.
    pub(super) fn does_not_exist(&self, id: &HubId) -> String {
        let kind = if id.is_model() { "model" } else { "data set" };
        let endpoint = &self.endpoint;
        format!("no {kind} `{id}` on the Hub at {endpoint} (private or gated ones need HF_TOKEN)")
    }
}
