//! A run: where its checkpoints go, and what ends it early.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use tensor_core::json_file;

use crate::{Checkpoints, Interrupt, RunLog};

/// File of a checkpoint with the state of the log.
pub(crate) const LOG_STATE_FILE: &str = "run_log.json";

/// Run as its training loop sees it. The default writes nothing and ends with its last step.
#[derive(Debug, Default)]
pub struct Run {
    /// Checkpoints of the run; `None` without a run folder.
    pub checkpoints: Option<RunCheckpoints>,
    /// Ctrl-C: the run ends after the current step, with a checkpoint.
    pub interrupt: Interrupt,
    /// Step after which the run ends, with a checkpoint.
    pub stop_after: Option<usize>,
}

/// Checkpoints of a run, and when they are written.
#[derive(Debug)]
pub struct RunCheckpoints {
    /// Folder of the checkpoints.
    pub checkpoints: Checkpoints,
    /// Steps between checkpoints; 0 saves only at the end.
    pub save_interval: usize,
    /// Id of the training data: a checkpoint is not resumed with other data.
    pub data_id: String,
}

impl RunCheckpoints {
    /// Only the newest checkpoint of the run in `folder` is kept, and written at the end of the
    /// run.
    pub fn at_end(folder: &Path, data_id: &str) -> Self {
        let checkpoints = Checkpoints::new(folder.join("checkpoints"), NonZeroUsize::MIN);
        Self { checkpoints, save_interval: 0, data_id: data_id.into() }
    }
}

impl Run {
    /// True if the run must stop after step `step`.
    pub fn should_stop(&self, step: usize) -> bool {
        self.interrupt.is_requested() || self.stop_after.is_some_and(|last| step >= last)
    }

    /// True if a checkpoint is due after step `step`.
    pub fn is_save_due(&self, step: usize) -> bool {
        self.checkpoints.as_ref().is_some_and(|run| is_due(step, run.save_interval))
    }

    /// Writes the checkpoint of step `step`: `write` gets its folder and the id of the data; the
    /// state of `log` is added.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_checkpoint(
        &self,
        step: usize,
        log: &RunLog,
        write: impl FnOnce(&Path, &str) -> Result<()>,
    ) -> Result<()> {
        let Some(run) = &self.checkpoints else { return Ok(()) };
        run.checkpoints.save(step, |folder| {
            write(folder, &run.data_id)?;
            json_file::write(&folder.join(LOG_STATE_FILE), &log.state)
        })
    }
}

/// True if something with this interval is due after step `step`; interval 0 means never.
pub fn is_due(step: usize, interval: usize) -> bool {
    interval > 0 && step.is_multiple_of(interval)
}
