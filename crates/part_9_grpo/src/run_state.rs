//! Run state in each checkpoint, so that a resumed run continues its counters and does not repeat
//! alarms.

use std::path::Path;

use anyhow::{Context, Result};
use ppo::RunInputs;
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

use crate::step_metrics::LogRow;

const STATE_FILE: &str = "log.json";

/// Counters, alarms and pending log rows of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Hashes of the initial weights and of the reward function, which must be the same on resume.
    #[serde(alias = "origins")]
    pub run_inputs: RunInputs,
    /// Number of sampled tokens.
    #[serde(alias = "tokens")]
    pub n_tokens: usize,
    /// Number of steps in which all advantages of included completions were 0.
    #[serde(alias = "silent")]
    pub zero_advantage_steps: usize,
    /// Alarms that have been raised.
    pub(crate) alarms: Vec<String>,
    /// Steps since the last row of the log.
    #[serde(alias = "recent")]
    pub(crate) recent_rows: Vec<LogRow>,
}

impl RunState {
    /// Saves the state to the checkpoint `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        json_file::write(&folder.join(STATE_FILE), self)
    }

    /// Loads the state from the checkpoint `folder`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE_FILE);
        serde_json::from_value(json_file::read(&path)?)
            .with_context(|| format!("{} is not the state of a GRPO run", path.display()))
    }
}
