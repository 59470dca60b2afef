//! Test helper of later parts: an untrained reward model.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::LoadMode;
use modern::Checkpoint;
use sft::ChatTokenizer;
use tensor_core::Parameters;

use crate::model_folder::{RewardModelConfig, save};
use crate::{RewardArchitecture, RewardModel, RewardNormalization};

/// Writes a reward model with random weights, the tokenizer and sizes of the model `base`, and
/// `weight` in every element of its reward head.
///
/// # Errors
/// When `base` cannot be opened, or the folder cannot be written.
pub fn save_untrained_reward_model(base: &str, folder: &Path, weight: f64) -> Result<()> {
    let mut base = Checkpoint::open(base, LoadMode::Inference, &Device::Cpu)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut base, None)?;
    let reward_config = RewardModelConfig {
        backbone: RewardModel::backbone_config(base.model.config()),
        architecture: RewardArchitecture::CausalLastToken,
        normalization: RewardNormalization::NONE,
    };
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    RewardModel::new(&reward_config.backbone, reward_config.architecture, &mut parameters)?;
    for parameter in parameters.iter().filter(|parameter| parameter.name.starts_with("score")) {
        parameter.var.set(&(parameter.var.ones_like()? * weight)?)?;
    }
    save(folder, &reward_config, &parameters, &chat_tokenizer, &base.special_ids)
}
