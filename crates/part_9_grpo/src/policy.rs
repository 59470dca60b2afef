//! Policy of a run: its train state, its models, its reference model, and their checkpoint.

use std::path::Path;

use anyhow::{Context, Result};
use experiment::TrainState;
use model_io::ModelConfig;
use modern::{GradientCheckpointing, TrainingModels};
use sft::ModelSaver;
use tensor_core::json_file;

use crate::progress::GrpoProgress;
use crate::reference::{ReferenceModel, ReferenceUpdate};

/// Progress of the training loop; another name would break the checkpoints of existing runs.
const PROGRESS_FILE: &str = "loop.json";

/// Policy in training.
pub struct Policy {
    /// Weights, optimizer and step.
    pub state: TrainState,
    /// Models of these weights; the one for inference samples the rollouts.
    pub models: TrainingModels,
    /// Reference model of the KL term; `None` without one.
    pub reference: Option<ReferenceModel>,
    /// Progress beside the tensors.
    pub progress: GrpoProgress,
}

impl Policy {
    /// Policy with the weights of `state`, at the start of a run; its reference model has the same
    /// weights.
    ///
    /// # Errors
    /// When memory is short, and those of [`ReferenceModel::new`].
    pub fn new(
        config: &ModelConfig,
        mut state: TrainState,
        reference_update: Option<ReferenceUpdate>,
    ) -> Result<Self> {
        let reference = reference_update
            .map(|update| ReferenceModel::new(config, &state.parameters, update))
            .transpose()?;
        Ok(Self {
            models: TrainingModels::new(config, &mut state.parameters)?,
            state,
            reference,
            progress: GrpoProgress::default(),
        })
    }

    /// The policy with gradient checkpointing of its training model, or without it.
    pub fn with_gradient_checkpointing(mut self, checkpointing: GradientCheckpointing) -> Self {
        self.models.training = self.models.training.with_gradient_checkpointing(checkpointing);
        self
    }

    /// Saves a checkpoint into `folder`; `data_id` names the training data. With a `saver` it is a
    /// model folder, too.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data_id: &str, saver: Option<&ModelSaver>) -> Result<()> {
        match saver {
            Some(saver) => saver.save_checkpoint(folder, &self.state, data_id)?,
            None => self.state.save(folder, data_id)?,
        }
        if let Some(reference) = &self.reference {
            reference.save(folder)?;
        }
        json_file::write(&folder.join(PROGRESS_FILE), &self.progress)
    }

    /// Restores the checkpoint in `folder`.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model, other data or other
    /// [`RunInputs`](ppo::RunInputs).
    pub fn restore(&mut self, folder: &Path, data_id: &str) -> Result<()> {
        let path = folder.join(PROGRESS_FILE);
        let progress: GrpoProgress = serde_json::from_value(json_file::read(&path)?)
            .with_context(|| format!("{} is not the progress of a GRPO run", path.display()))?;
        progress.run_inputs.ensure_same_as(&self.progress.run_inputs)?;
        self.progress = progress;
        self.state.restore(folder, data_id)?;
        self.reference.as_ref().map_or(Ok(()), |reference| reference.restore(folder))
    }
}
