//! The reward model that a run begins with.

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device};
use modern::config::PositionEncoding;
use modern::{Checkpoint, LoadMode, ModelConfig};
use sft::base_model::{self, BaseModelConfig};
use tensor_core::Parameters;
use tiny_gpt::command::as_usage_error;

use super::arguments::TrainArgs;
use crate::checkpoint::locate_model;
use crate::{RewardArchitecture, RewardCheckpoint, TrainConfig, initialization, model_folder};

const PURPOSE: LoadMode = LoadMode::Training(DType::F32);

/// The one to begin with: a reward model that is named, or a language model with a fresh head: the one that is named, the one that
/// the run to be resumed began with, or, for all to be tried on it, a new one as it is before pretraining.
pub(super) fn load_initial_model(args: &TrainArgs, device: &Device) -> Result<RewardCheckpoint> {
    let base = match &args.model {
        Some(model) => {
            let place = locate_model(model)?;
            if model_folder::is_reward_model(&place) {
                return reopen_reward_model(args, model, device);
            }
            Checkpoint::open(&place.to_string_lossy(), PURPOSE, device)?
        }
        None if args.run.settings.resume => {
            let own = args.out.join("base");
            ensure!(own.is_dir(), "there is no {}, which the run began with", own.display());
            Checkpoint::open(&own.to_string_lossy(), PURPOSE, device)?
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

/// A language model with a fresh head.
pub(super) fn add_reward_head(args: &TrainArgs, base: Checkpoint) -> Result<RewardCheckpoint> {
    let architecture = args.architecture.unwrap_or_default();
    RewardCheckpoint::from_language_model(base, architecture, args.template, args.run.compute.seed)
}

/// A reward model, to be trained further.
fn reopen_reward_model(args: &TrainArgs, model: &str, device: &Device) -> Result<RewardCheckpoint> {
    let checkpoint = RewardCheckpoint::open(model, PURPOSE, device)?;
    let its = checkpoint.model.architecture();
    if args.architecture.is_some_and(|wanted| wanted != its) || args.template.is_some() {
        bail!("{model} is a reward model already: its architecture and template stay as they are");
    }
    Ok(checkpoint)
}

/// The model's sizes, with the context that is asked for.
pub(super) fn with_context_len(config: &ModelConfig, args: &TrainArgs) -> Result<ModelConfig> {
    let Some(context) = args.context_len.map(|size| size.get()) else { return Ok(*config) };
    let learned = config.attention.position == PositionEncoding::Learned;
    ensure!(
        context <= config.context_len && !learned,
        "--context-len {context}: the model reads up to {} tokens{}",
        config.context_len,
        if learned {
            ", at positions that it has learned, so that this cannot be changed"
        } else {
            ""
        }
    );
    Ok(ModelConfig { context_len: context, ..*config })
}

/// What is trained of these weights, all of them or adapters.
pub(super) fn new_train_state(
    args: &TrainArgs,
    parameters: Parameters,
    (body, architecture): (ModelConfig, RewardArchitecture),
    config: &TrainConfig,
) -> Result<sft::TrainState> {
    let parameters = match args.lora.config() {
        Some(lora) => {
            initialization::attach_lora(&parameters, (&body, architecture), &lora, config.seed)?
        }
        None => parameters,
    };
    sft::TrainState::new(body, parameters, config.optimizer)
}
