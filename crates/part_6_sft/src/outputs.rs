//! Where a run's results go: the run folder's `model/` or `adapter/`, and its checkpoints.

use std::path::Path;

use anyhow::Result;
use scaling::Checkpoints;
use tiny_gpt::Interrupt;

use crate::{Keeper, Tuning};

/// Where, how often, and until when.
#[derive(Debug, Default)]
pub struct Outputs<'a> {
    /// The run's folder; without one nothing is written.
    pub place: Option<Place<'a>>,
    /// Ends the run, saved.
    pub interrupt: Interrupt,
    /// Ends it too, after this many steps in all.
    pub stop_after: Option<usize>,
}

/// The folder of a run.
#[derive(Debug)]
pub struct Place<'a> {
    /// The run folder.
    pub folder: &'a Path,
    /// What a model is saved with.
    pub keeper: &'a Keeper<'a>,
    /// The run's checkpoints.
    pub checkpoints: Checkpoints,
    /// Steps between two of them; 0 for one at the end.
    pub interval: usize,
    /// Names what is learned from, so that a checkpoint is not continued with something else.
    pub data: &'a str,
}

impl Outputs<'_> {
    /// Whether the run is to end after step `step`.
    pub fn stop(&self, step: usize) -> bool {
        self.interrupt.requested() || self.stop_after == Some(step)
    }

    /// Whether there is to be a checkpoint after step `step`.
    pub fn save_due(&self, step: usize) -> bool {
        let interval = self.place.as_ref().map_or(0, |place| place.interval);
        interval > 0 && step.is_multiple_of(interval)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn save(&self, tuning: &Tuning) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        place.checkpoints.save(tuning.state.step, |folder| tuning.save(folder, place.data))
    }

    /// Writes the model as others open it.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn save_model(&self, tuning: &Tuning) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        place.keeper.save(place.folder, tuning)
    }
}
