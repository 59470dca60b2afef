//! Where a run's results go: the run folder's `model/` or `adapter/`, and its checkpoints.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use scaling::Checkpoints;
use tiny_gpt::Interrupt;

use crate::{ModelSaver, TrainState};

/// Where, how often, and until when.
#[derive(Debug, Default)]
pub struct RunOutputs<'a> {
    /// The run's folder; without one nothing is written.
    pub destination: Option<RunDestination<'a>>,
    /// Ends the run, saved.
    pub interrupt: Interrupt,
    /// Ends it too, after this many steps in all.
    pub stop_after: Option<usize>,
}

/// The folder of a run.
#[derive(Debug)]
pub struct RunDestination<'a> {
    /// The run folder.
    pub folder: &'a Path,
    /// What a model is saved with.
    pub model_saver: &'a ModelSaver<'a>,
    /// The run's checkpoints.
    pub checkpoints: Checkpoints,
    /// Steps between two of them; 0 for one at the end.
    pub save_interval: usize,
    /// Names what is learned from, so that a checkpoint is not continued with something else.
    pub data_id: &'a str,
}

impl<'a> RunDestination<'a> {
    /// Destination with the newest checkpoint alone, written at the end of the run.
    pub fn new(folder: &'a Path, model_saver: &'a ModelSaver<'a>, data_id: &'a str) -> Self {
        let checkpoints = Checkpoints::new(folder.join("checkpoints"), NonZeroUsize::MIN);
        Self { folder, model_saver, checkpoints, save_interval: 0, data_id }
    }
}

impl RunOutputs<'_> {
    /// Whether the run is to end after step `step`.
    pub fn should_stop(&self, step: usize) -> bool {
        self.interrupt.is_requested() || self.stop_after == Some(step)
    }

    /// Whether there is to be a checkpoint after step `step`.
    pub fn is_save_due(&self, step: usize) -> bool {
        let interval = self.destination.as_ref().map_or(0, |place| place.save_interval);
        interval > 0 && step.is_multiple_of(interval)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn save_checkpoint(&self, tuning: &TrainState) -> Result<()> {
        let Some(place) = &self.destination else { return Ok(()) };
        place.checkpoints.save(tuning.progress.step, |folder| tuning.save(folder, place.data_id))
    }

    /// Writes the model as others open it.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn save_model(&self, tuning: &TrainState) -> Result<()> {
        let Some(place) = &self.destination else { return Ok(()) };
        place.model_saver.save(place.folder, tuning)
    }
}
