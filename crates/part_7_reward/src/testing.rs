//! What the tests of later parts ask for: a judge that has learned nothing.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};
use modern::{Checkpoint, LoadMode};
use sft::ChatTokenizer;
use tensor_core::Parameters;

use crate::model_folder::{RewardModelConfig, save};
use crate::{RewardArchitecture, RewardModel, RewardNormalization};

/// Writes a reward model of fresh weights that speaks as the model in `base` does, and has `weight` in each place of its head.
///
/// # Errors
/// When there is no such model, or the folder cannot be written.
pub fn save_untrained_reward_model(base: &str, folder: &Path, weight: f64) -> Result<()> {
    let mut base = Checkpoint::open(base, LoadMode::Inference, &Device::Cpu)?;
    let speech = ChatTokenizer::from_checkpoint(&mut base, None)?;
    let config = RewardModel::backbone_config(base.model.config());
    let architecture = RewardArchitecture::Causal;
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    RewardModel::new(&config, architecture, &mut parameters)?;
    for parameter in parameters.iter().filter(|parameter| parameter.name.starts_with("score")) {
        parameter.var.set(&(parameter.var.ones_like()? * weight)?)?;
    }
    let normalisation = RewardNormalization::NONE;
    let description =
        RewardModelConfig { backbone: config, architecture, normalization: normalisation };
    save(folder, &description, &parameters, &speech, &base.special_ids)
}
