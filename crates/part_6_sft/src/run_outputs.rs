//! Outputs of a run: `model/` or `adapter/` in the run folder, and checkpoints.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use experiment::{Checkpoints, Interrupt};

use crate::{ModelSaver, TrainState};

/// Destination of a run's outputs, and conditions that stop the run early.
#[derive(Debug, Default)]
pub struct RunOutputs<'a> {
    /// Run folder; without one nothing is written.
    pub destination: Option<RunDestination<'a>>,
    /// Shutdown flag: the run stops after the current step, with a checkpoint.
    pub interrupt: Interrupt,
    /// Step after which the run stops, with a checkpoint.
    pub stop_after: Option<usize>,
}

/// Run folder, and what is saved in it.
#[derive(Debug)]
pub struct RunDestination<'a> {
    /// Run folder.
    pub folder: &'a Path,
    /// Model saver.
    pub model_saver: &'a ModelSaver<'a>,
    /// Checkpoints of the run.
    pub checkpoints: Checkpoints,
    /// Steps between checkpoints; 0 saves only at the end.
    pub save_interval: usize,
    /// Id of the training data: a checkpoint is not resumed with other data.
    pub data_id: &'a str,
}

impl<'a> RunDestination<'a> {
    /// Destination that keeps the newest checkpoint only, written at the end of the run.
    pub fn new(folder: &'a Path, model_saver: &'a ModelSaver<'a>, data_id: &'a str) -> Self {
        let checkpoints = Checkpoints::new(folder.join("checkpoints"), NonZeroUsize::MIN);
        Self { folder, model_saver, checkpoints, save_interval: 0, data_id }
    }
}

impl RunOutputs<'_> {
    /// True if the run must stop after step `step`.
    pub fn should_stop(&self, step: usize) -> bool {
        self.interrupt.is_requested() || self.stop_after == Some(step)
    }

    /// True if a checkpoint is due after step `step`.
    pub fn is_save_due(&self, step: usize) -> bool {
        let interval = self.destination.as_ref().map_or(0, |destination| destination.save_interval);
        interval > 0 && step.is_multiple_of(interval)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_checkpoint(&self, train_state: &TrainState) -> Result<()> {
        let Some(destination) = &self.destination else { return Ok(()) };
        destination
            .checkpoints
            .save(train_state.progress.step, |folder| train_state.save(folder, destination.data_id))
    }

    /// Writes the model or the adapter in the layout of other programs.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_model(&self, train_state: &TrainState) -> Result<()> {
        let Some(destination) = &self.destination else { return Ok(()) };
        destination.model_saver.save(destination.folder, train_state)
    }
}
