//! What a run has come to: what its log knows beside the rows that it has written, so that a resumed run counts on.

use std::path::Path;

use anyhow::{Context, Result};
use ppo::RunInputs;
use serde::{Deserialize, Serialize};
use tiny_gpt::json_file;

use crate::step_metrics::LogRow;

const STATE_FILE: &str = "log.json";

/// What a run has come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// The weights that the run began with, which may be its reference, and who judges: it goes on with no others.
    #[serde(alias = "origins")]
    pub run_inputs: RunInputs,
    /// Tokens that were written.
    #[serde(alias = "tokens")]
    pub n_tokens: usize,
    /// Steps in which no completion that takes part was better than what it was compared with.
    #[serde(alias = "silent")]
    pub zero_advantage_steps: usize,
    /// What was said aloud.
    pub(crate) alarms: Vec<String>,
    /// Since the last row of figures.
    #[serde(alias = "recent")]
    pub(crate) recent_rows: Vec<LogRow>,
}

impl RunState {
    /// Writes it into the checkpoint `folder`.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn save(&self, folder: &Path) -> Result<()> {
        json_file::write(&folder.join(STATE_FILE), self)
    }

    /// What the checkpoint in `folder` has come to.
    ///
    /// # Errors
    /// When it does not say so.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE_FILE);
        serde_json::from_value(json_file::read(&path)?)
            .with_context(|| format!("{} is no log of a run", path.display()))
    }
}
