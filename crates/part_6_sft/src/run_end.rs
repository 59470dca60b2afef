//! Models that a run of fine-tuning, or of a later part, leaves at its end beside its best one.

use anyhow::Result;
use experiment::{RunSetup, TrainState};

use crate::ModelSaver;
use crate::model_flags::LoraFlags;

/// Saves the best model of a run merged with its adapter, if `lora` asks for it, and the last model
/// of `state`, if it is another. A run that is not over leaves neither.
///
/// # Errors
/// When the base or the adapter cannot be opened, or a file cannot be written.
pub fn save_run_end(
    saver: &ModelSaver,
    setup: &RunSetup<'_>,
    state: &TrainState,
    lora: &LoraFlags,
) -> Result<()> {
    if lora.merge && setup.is_finished(&state.progress) {
        saver.save_merged(state.parameters.device())?;
    }
    match setup.last_model_folder(&state.progress)? {
        Some(folder) => saver.save_to(&folder, &state.parameters),
        None => Ok(()),
    }
}
