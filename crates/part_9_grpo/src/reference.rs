//! The reference: what the KL term keeps the policy near.
//!
//! Of a model with adapters it is the same memory without them; of a model that is trained as a whole, a copy. Some programs
//! renew it every so often (a bound on the speed, no longer on the distance), some do without.

use std::path::Path;

use anyhow::{Context, Result, bail};
use modern::GptModern;
use ppo::reference::{copy_parameters, without_adapters};
use sft::TrainState;
use sft::train_state::parameters_sha256;
use tensor_core::{Parameters, weights};

const REFERENCE_FILE: &str = "reference.safetensors";

/// Which model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceUpdate {
    /// The policy as it began.
    Fixed,
    /// The policy as it was at the last step that this number divides.
    SyncEvery(usize),
}

/// Names the weights that `tuning` begins with by what they are; adapters, which begin as nothing, left out.
///
/// # Errors
/// When they cannot be read from their device.
pub fn base_weights_sha256(tuning: &TrainState) -> Result<String> {
    let adapted = !tuning.parameters.adapters().is_empty();
    parameters_sha256(tuning.parameters.iter().filter(|p| !adapted || !p.trainable))
}

/// A model that is not trained.
pub struct ReferenceModel {
    reference_update: ReferenceUpdate,
    /// The inference twin.
    pub model: GptModern,
    /// The copy, where there is one.
    copied_parameters: Option<Parameters>,
}

impl ReferenceModel {
    /// Of `tuning` as it is now: at the beginning of its run.
    ///
    /// # Errors
    /// When the adapters of a model would have to be copied.
    pub fn new(tuning: &TrainState, kind: ReferenceUpdate) -> Result<Self> {
        let adapted = !tuning.parameters.adapters().is_empty();
        if adapted && kind != ReferenceUpdate::Fixed {
            bail!(
                "the reference of a model with adapters is the model without them, and is not renewed"
            );
        }
        let copy = (!adapted).then(|| copy_parameters(tuning)).transpose()?;
        let model = match &copy {
            Some(copy) => GptModern::new(&tuning.config, copy.for_inference().root())?,
            None => without_adapters(tuning)?,
        };
        Ok(Self { reference_update: kind, model, copied_parameters: copy })
    }

    /// After a step of `tuning`: takes over the policy, if it is time.
    ///
    /// # Errors
    /// When memory is short.
    pub fn sync_if_due(&mut self, tuning: &TrainState) -> Result<()> {
        let (ReferenceUpdate::SyncEvery(every), Some(copy)) =
            (self.reference_update, &self.copied_parameters)
        else {
            return Ok(());
        };
        if tuning.progress.step.is_multiple_of(every) {
            for (old, new) in copy.iter().zip(tuning.parameters.iter()) {
                old.var.set(&new.var.as_detached_tensor())?;
            }
        }
        Ok(())
    }

    /// Writes it into a checkpoint, if it cannot be had from the model that the run began with.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let (ReferenceUpdate::SyncEvery(_), Some(copy)) =
            (self.reference_update, &self.copied_parameters)
        else {
            return Ok(());
        };
        let tensors = copy.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
        weights::save(&folder.join(REFERENCE_FILE), &tensors)
    }

    /// Takes it from a checkpoint again.
    ///
    /// # Errors
    /// When the file does not fit.
    pub fn restore(&mut self, folder: &Path) -> Result<()> {
        let (ReferenceUpdate::SyncEvery(_), Some(copy)) =
            (self.reference_update, &self.copied_parameters)
        else {
            return Ok(());
        };
        let path = folder.join(REFERENCE_FILE);
        let mut tensors = weights::load(&path)?;
        for parameter in copy.iter() {
            let tensor = tensors.remove(&parameter.name);
            let tensor = tensor.filter(|tensor| tensor.shape() == parameter.var.shape());
            let tensor = tensor
                .with_context(|| format!("{} has no such `{}`", path.display(), parameter.name))?;
            parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
        }
        Ok(())
    }
}
