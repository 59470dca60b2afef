//! A run: where its checkpoints go, and what ends it early.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use ranks::Ranks;
use tensor_core::json_file;

use crate::rank_weights::ensure_same_weights;
use crate::{Checkpoints, Interrupt, RunLog, TrainProgress, TrainState};

/// File of a checkpoint with the state of the log.
pub(crate) const LOG_STATE_FILE: &str = "run_log.json";
/// Longest time between checkpoints, which is what a crash loses at most, and a step.
const MAX_CHECKPOINT_AGE: Duration = Duration::from_secs(5 * 60);

/// Run as its training loop sees it. The default writes nothing and ends with its last step.
#[derive(Debug, Default)]
pub struct Run {
    /// Checkpoints of the run; `None` without a run folder.
    pub checkpoints: Option<RunCheckpoints>,
    /// Ctrl-C: the run ends after the current step, with a checkpoint.
    pub interrupt: Interrupt,
    /// Ranks that train together; the first writes the checkpoints.
    pub ranks: Ranks,
    /// Step after which the run ends, with a checkpoint.
    pub stop_after: Option<usize>,
    /// Number of validations without an improvement after which the run is over.
    pub patience: Option<usize>,
    /// Number of steps in a row whose completions all get the highest reward, or the highest of the
    /// run where that is not known, after which the run of a policy is over.
    pub stop_when_solved: Option<usize>,
}

/// Checkpoints of a run, and when they are written.
#[derive(Debug)]
pub struct RunCheckpoints {
    /// Folder of the checkpoints.
    checkpoints: Checkpoints,
    /// Steps between checkpoints; 0 saves only at the end.
    save_interval: usize,
    /// Age of the newest checkpoint, or of the process, at which the next is due, unless they are
    /// saved only at the end.
    max_age: Duration,
    newest: Cell<Instant>,
    /// Id of the training data: a checkpoint is not resumed with other data.
    data_id: String,
}

impl RunCheckpoints {
    /// Checkpoints every `save_interval` steps and every five minutes, or with interval 0 only at
    /// the end; `data_id` names the training data.
    pub fn new(checkpoints: Checkpoints, save_interval: usize, data_id: &str) -> Self {
        let (max_age, newest) = (MAX_CHECKPOINT_AGE, Cell::new(Instant::now()));
        Self { checkpoints, save_interval, max_age, newest, data_id: data_id.into() }
    }

    /// These checkpoints, of which the newest gets at most this old.
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Only the newest checkpoint of the run in `folder` is kept, and written at the end of the
    /// run.
    pub fn at_end(folder: &Path, data_id: &str) -> Self {
        let checkpoints = Checkpoints::new(folder.join("checkpoints"), NonZeroUsize::MIN);
        Self::new(checkpoints, 0, data_id)
    }

    fn is_due(&self, step: usize) -> bool {
        let is_old = || self.newest.get().elapsed() >= self.max_age;
        self.save_interval > 0 && (is_due(step, self.save_interval) || is_old())
    }
}

impl Run {
    /// True if the run is over: after `total_steps` steps, at its target, out of patience, or
    /// solved.
    pub fn is_finished(&self, progress: &TrainProgress, total_steps: usize) -> bool {
        progress.is_finished(total_steps, self.patience, self.stop_when_solved)
    }

    /// Like [`is_finished`](Self::is_finished) by the progress of the first rank: the validations
    /// of the others may differ in their last bits.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn is_over(&self, progress: &TrainProgress, total_steps: usize) -> Result<bool> {
        self.ranks.any(self.ranks.is_first() && self.is_finished(progress, total_steps))
    }

    /// True if the run must stop after step `step`: a signal to one of the ranks stops all.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn should_stop(&self, step: usize) -> Result<bool> {
        let is_interrupted = self.ranks.any(self.interrupt.is_requested())?;
        Ok(is_interrupted || self.stop_after.is_some_and(|last| step >= last))
    }

    /// True if a checkpoint is due after step `step`, by the clock of the first rank.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn is_save_due(&self, step: usize) -> Result<bool> {
        let is_due = self.checkpoints.as_ref().is_some_and(|run| run.is_due(step));
        self.ranks.any(self.ranks.is_first() && is_due)
    }

    /// Writes the checkpoint of step `step`: `write` gets its folder and the id of the data; the
    /// state of `log` is added. All ranks call it, and must have the same weights in `states`.
    ///
    /// # Errors
    /// When the weights of a rank differ, another rank has ended, or a file cannot be written.
    pub fn save_checkpoint(
        &self,
        step: usize,
        states: &[&TrainState],
        log: &RunLog,
        write: impl FnOnce(&Path, &str) -> Result<()>,
    ) -> Result<()> {
        for state in states {
            ensure_same_weights(state, step)?;
        }
        let Some(run) = self.checkpoints.as_ref().filter(|_| self.ranks.is_first()) else {
            return Ok(());
        };
        run.checkpoints.save(step, |folder| {
            write(folder, &run.data_id)?;
            json_file::write(&folder.join(LOG_STATE_FILE), &log.state)
        })?;
        run.newest.set(Instant::now());
        Ok(())
    }
}

/// True if something with this interval is due after step `step`; interval 0 means never.
pub fn is_due(step: usize, interval: usize) -> bool {
    interval > 0 && step.is_multiple_of(interval)
}
