//! Reference model of the KL term.
//!
//! For a policy with adapters it is the policy without them, in the same memory; for a policy that
//! is trained as a whole, a copy. Some programs copy the policy to it every few steps, or mix it
//! in, which bounds the speed of the policy and not its distance from the start; some use no
//! reference.

use std::path::Path;

use anyhow::{Context, Result, bail};
use model_io::ModelConfig;
use modern::GptModern;
use ppo::reference::{copy_as_reference, without_adapters};
use tensor_core::{Parameters, weights};

const REFERENCE_FILE: &str = "reference.safetensors";

/// Update rule of the reference model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReferenceUpdate {
    /// Fixed: the initial policy.
    Fixed,
    /// Synchronized with the policy after every step that this number divides.
    SyncEvery(usize),
    /// Mixed with the policy after every step that the interval divides, as in TRL (TR-DPO,
    /// <https://arxiv.org/abs/2404.09656>): π_ref becomes α π + (1 − α) π_ref, weight by weight.
    MixEvery {
        /// Steps between two mixes.
        interval: usize,
        /// Weight α of the policy; 1 copies it.
        alpha: f64,
    },
}

/// Reference model, which is not trained.
pub struct ReferenceModel {
    reference_update: ReferenceUpdate,
    /// Model for inference.
    pub model: GptModern,
    /// Parameters of the copy; `None` for a policy with adapters.
    copied_parameters: Option<Parameters>,
}

impl ReferenceModel {
    /// Reference model from the current weights of the `policy`, at the start of a run.
    ///
    /// # Errors
    /// When a policy with adapters is to be synchronized.
    pub fn new(
        config: &ModelConfig,
        policy: &Parameters,
        reference_update: ReferenceUpdate,
    ) -> Result<Self> {
        let has_adapters = !policy.adapters().is_empty();
        if has_adapters && reference_update != ReferenceUpdate::Fixed {
            bail!(
                "the reference of a policy with adapters is the policy without them and cannot be \
                 synchronized"
            );
        }
        let copied_parameters =
            (!has_adapters).then(|| copy_as_reference(config, policy)).transpose()?;
        let model = match &copied_parameters {
            Some(copy) => GptModern::new(config, copy.for_inference().root())?,
            None => without_adapters(config, policy)?,
        };
        Ok(Self { reference_update, model, copied_parameters })
    }

    /// Copies the `policy` to the reference, or mixes it in, if `step`, the step it has taken, is a
    /// multiple of the interval.
    ///
    /// # Errors
    /// When memory is short.
    pub fn sync_if_due(&self, step: usize, policy: &Parameters) -> Result<()> {
        let Some((interval, alpha, copy)) = self.synchronized() else { return Ok(()) };
        if step.is_multiple_of(interval) {
            for (old, new) in copy.iter().zip(policy.iter()) {
                let new = new.var.as_detached_tensor();
                let (dtype, old_values) = (old.var.dtype(), old.var.as_detached_tensor());
                let mixed = match alpha {
                    1. => new,
                    _ => ((&new * alpha)? + (old_values.to_dtype(new.dtype())? * (1. - alpha))?)?,
                };
                old.var.set(&mixed.to_dtype(dtype)?)?;
            }
        }
        Ok(())
    }

    /// Interval, weight of the policy and parameters of a synchronized reference; `None` for a
    /// fixed one.
    fn synchronized(&self) -> Option<(usize, f64, &Parameters)> {
        let copy = self.copied_parameters.as_ref()?;
        match self.reference_update {
            ReferenceUpdate::Fixed => None,
            ReferenceUpdate::SyncEvery(interval) => Some((interval, 1., copy)),
            ReferenceUpdate::MixEvery { interval, alpha } => Some((interval, alpha, copy)),
        }
    }

    /// Saves the reference to a checkpoint, unless the base model of the run can restore it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let Some((_, _, copy)) = self.synchronized() else { return Ok(()) };
        let tensors = copy.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
        weights::save(&folder.join(REFERENCE_FILE), &tensors)
    }

    /// Restores the reference from a checkpoint.
    ///
    /// # Errors
    /// When the file does not match the model.
    pub fn restore(&self, folder: &Path) -> Result<()> {
        let Some((_, _, copy)) = self.synchronized() else { return Ok(()) };
        let path = folder.join(REFERENCE_FILE);
        let mut tensors = weights::load(&path)?;
        for parameter in copy.iter() {
            let tensor = tensors.remove(&parameter.name);
            let tensor = tensor.filter(|tensor| tensor.shape() == parameter.var.shape());
            let tensor = tensor.with_context(|| {
                format!("{} has no tensor `{}` of that shape", path.display(), parameter.name)
            })?;
            parameter
                .var
                .set(&tensor.to_dtype(parameter.var.dtype())?.to_device(parameter.var.device())?)?;
        }
        Ok(())
    }
}
