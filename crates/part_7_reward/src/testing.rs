//! What the tests of later parts ask for: a judge that has learned nothing.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};
use modern::{Checkpoint, Purpose};
use sft::Speech;
use tensor_core::Parameters;

use crate::model_folder::{Description, save};
use crate::{Architecture, Normalisation, RewardModel};

/// Writes a reward model of fresh weights that speaks as the model in `base` does, and has `weight` in each place of its head.
///
/// # Errors
/// When there is no such model, or the folder cannot be written.
pub fn save_unlearned(base: &str, folder: &Path, weight: f64) -> Result<()> {
    let mut base = Checkpoint::open(base, Purpose::Inference, &Device::Cpu)?;
    let speech = Speech::of(&mut base, None)?;
    let config = RewardModel::body_config(base.model.config());
    let architecture = Architecture::Causal;
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    RewardModel::new(&config, architecture, &mut parameters)?;
    for parameter in parameters.iter().filter(|parameter| parameter.name.starts_with("score")) {
        parameter.var.set(&(parameter.var.ones_like()? * weight)?)?;
    }
    let normalisation = Normalisation::NONE;
    let description = Description { config, architecture, normalisation };
    save(folder, &description, &parameters, &speech, &base.ends)
}
