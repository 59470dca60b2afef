//! Reward models for the tests of later parts, untrained and trained.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};
use datasets::Preference;
use experiment::{Run, RunLog, TrainState};
use model_io::LoadMode;
use modern::Checkpoint;
use scaling::LrSchedule;
use sft::ChatTokenizer;
use tensor_core::{AdamWConfig, Parameters};

use crate::model_folder::{RewardModelConfig, save};
use crate::{
    LossKind, PreferenceLoss, RewardArchitecture, RewardCheckpoint, RewardModel,
    RewardNormalization, RewardValidator, TrainConfig, tokenize_pairs, train,
};

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

/// Writes a reward model that starts from the model `base` and is trained on `preferences` for
/// `steps` steps of all pairs.
///
/// # Errors
/// When `base` cannot be opened, or the folder cannot be written.
pub fn save_trained_reward_model(
    base: &str,
    folder: &Path,
    preferences: &[Preference],
    steps: usize,
) -> Result<()> {
    let base = Checkpoint::open(base, LoadMode::Training(DType::F32), &Device::Cpu)?;
    let architecture = RewardArchitecture::CausalLastToken;
    let initial = RewardCheckpoint::from_language_model(base, architecture, None, 1)?;
    let backbone = *initial.model.backbone().config();
    let pairs = tokenize_pairs(preferences, &initial.chat_tokenizer, backbone.context_len)?.pairs;
    let config = TrainConfig {
        batch_size: pairs.len(),
        grad_accum_steps: 1,
        loss: PreferenceLoss { kind: LossKind::BradleyTerry, center_rewards_coefficient: 0. },
        schedule: LrSchedule::cosine(3e-3, steps),
        optimizer: AdamWConfig::default().into(),
        max_grad_norm: 1.,
        seed: 1,
    };
    let mut state = TrainState::new(initial.parameters, config.optimizer)?;
    let model = RewardModel::new(&backbone, architecture, &mut state.parameters)?;
    let validator = RewardValidator {
        pairs: &pairs,
        batch_size: pairs.len(),
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    let mut log = RunLog::of_losses(steps)?;
    train(&model, &mut state, &pairs, &config, &validator, &Run::default(), &mut log)?;
    let normalization = RewardNormalization::NONE;
    let reward_config = RewardModelConfig { backbone, architecture, normalization };
    let (chat_tokenizer, special_ids) = (&initial.chat_tokenizer, &initial.special_ids);
    save(folder, &reward_config, &state.parameters, chat_tokenizer, special_ids)
}
