//! The policy that a run begins with.

use anyhow::Result;
use candle_core::{DType, Device};
use modern::{Checkpoint, GptModern, Purpose};
use reward::start::small_model;
use serde_json::Value;
use sft::tuned::model_in;
use sft::{LoraConfig, Tuning, lora};
use tiny_gpt::RunFolder;
use tiny_gpt::command::usage;

use super::arguments::TrainArgs;

/// The model that is named, the one that the run to be resumed began with, or a new one, which the run keeps in `base/`; opened for
/// training, and where it is.
pub(super) fn checkpoint(
    args: &TrainArgs,
    settings: &Value,
    device: &Device,
) -> Result<(Checkpoint, String)> {
    let purpose = Purpose::Training(DType::F32);
    let own = args.out.join("base").to_string_lossy().into_owned();
    if args.model.is_none() && !args.settings.resume {
        let (base, steps) = (args.base.config(), args.sft_steps);
        usage(base.check())?;
        RunFolder::create(&args.out, settings)?;
        println!("a small model is pretrained for {} steps and shown sums for {steps}", base.steps);
        let checkpoint = small_model(base, steps, args.compute.seed, device)?;
        checkpoint.save(args.out.join("base").as_path())?;
    }
    let source = args.model.as_deref().map_or(own, model_in);
    Ok((Checkpoint::open(&source, purpose, device)?, source))
}

/// The policy in training: all of it, or adapters beside it.
pub(super) fn policy(
    mut parameters: tensor_core::Parameters,
    model: &GptModern,
    lora: Option<&LoraConfig>,
    args: &TrainArgs,
) -> Result<Tuning> {
    if let Some(lora) = lora {
        lora::attach(&mut parameters, lora, args.compute.seed)?;
    }
    Tuning::new(*model.config(), parameters, args.step.optimizer.config())
}
