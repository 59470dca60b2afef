//! Initial reward model of a run.

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device};
use experiment::program::as_usage_error;
use model_io::config::PositionEncoding;
use model_io::{LoadMode, ModelConfig};
use modern::Checkpoint;
use sft::base_model::{self, BaseModelConfig};
use tensor_core::Parameters;

use super::arguments::TrainArgs;
use crate::checkpoint::locate_model;
use crate::{RewardArchitecture, RewardCheckpoint, TrainConfig, initialization, model_folder};

const LOAD_MODE: LoadMode = LoadMode::Training(DType::F32);

/// Loads the initial model: the reward model `--model`, or a language model with a new reward head.
///
/// The language model is `--model`, or `base/` of a resumed run. Without either it is an untrained
/// model of the right size, on which all flags are validated before time is spent on pretraining;
/// the pretrained model replaces it afterwards.
pub(super) fn load_initial_model(args: &TrainArgs, device: &Device) -> Result<RewardCheckpoint> {
    let base = match &args.model {
        Some(model) => {
            let path = locate_model(model)?;
            if model_folder::is_reward_model(&path) {
                return reopen_reward_model(args, model, device);
            }
            Checkpoint::open(&path.to_string_lossy(), LOAD_MODE, device)?
        }
        None if args.run.settings.resume => {
            let path = args.out.join("base");
            ensure!(path.is_dir(), "cannot resume: the base model {} is missing", path.display());
            Checkpoint::open(&path.to_string_lossy(), LOAD_MODE, device)?
        }
        None => {
            let config = args.base.config();
            as_usage_error(config.check())?;
            base_model::pretrain(
                BaseModelConfig { steps: 0, ..config },
                args.run.compute.seed,
                device,
            )?
        }
    };
    add_reward_head(args, base)
}

/// Adds a new reward head to a language model.
pub(super) fn add_reward_head(args: &TrainArgs, base: Checkpoint) -> Result<RewardCheckpoint> {
    let architecture = args.architecture.unwrap_or_default();
    RewardCheckpoint::from_language_model(base, architecture, args.template, args.run.compute.seed)
}

/// Opens a reward model for further training.
fn reopen_reward_model(args: &TrainArgs, model: &str, device: &Device) -> Result<RewardCheckpoint> {
    let checkpoint = RewardCheckpoint::open(model, LOAD_MODE, device)?;
    let architecture = checkpoint.model.architecture();
    if args.architecture.is_some_and(|requested| requested != architecture)
        || args.template.is_some()
    {
        bail!("{model} is a reward model already: its architecture and template cannot be changed");
    }
    Ok(checkpoint)
}

/// Model configuration with the context length of `--context-len`.
pub(super) fn with_context_len(config: &ModelConfig, args: &TrainArgs) -> Result<ModelConfig> {
    let Some(context_len) = args.context_len.map(|n| n.get()) else { return Ok(*config) };
    let has_learned_positions = config.attention.position == PositionEncoding::Learned;
    ensure!(
        context_len <= config.context_len && !has_learned_positions,
        "--context-len {context_len}: the model's context is {} tokens{}",
        config.context_len,
        if has_learned_positions {
            "; it has learned position embeddings, so this cannot be changed"
        } else {
            ""
        }
    );
    Ok(ModelConfig { context_len, ..*config })
}

/// Initial training state, for full training or LoRA.
pub(super) fn new_train_state(
    args: &TrainArgs,
    parameters: Parameters,
    (backbone, architecture): (ModelConfig, RewardArchitecture),
    config: &TrainConfig,
) -> Result<sft::TrainState> {
    let parameters = match args.lora.config() {
        Some(lora) => {
            let shape = (&backbone, architecture);
            initialization::attach_lora(&parameters, shape, &lora, config.seed)?
        }
        None => parameters,
    };
    sft::TrainState::new(backbone, parameters, config.optimizer)
}
