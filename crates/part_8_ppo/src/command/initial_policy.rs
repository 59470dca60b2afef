//! The policy that a run begins with.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use modern::{Checkpoint, LoadMode};
use sft::base_model::{BaseModelConfig, pretrain};
use sft::finetuned::resolve_model_path;
use tiny_gpt::command::as_usage_error;

use super::arguments::TrainArgs;

/// Where it is: the model that is named, else the run's own, in `base/`.
pub(super) fn policy_source(args: &TrainArgs) -> String {
    let own = args.out.join("base").to_string_lossy().into_owned();
    args.model.as_deref().map_or(own, resolve_model_path)
}

/// It, opened for training; of a new run that has yet to teach a small model, for all to be tried on it, this model as it is before
/// pretraining.
pub(super) fn open_checkpoint(
    args: &TrainArgs,
    source: &str,
    device: &Device,
) -> Result<Checkpoint> {
    if args.model.is_none() && !args.run.settings.resume {
        let config = args.base.config();
        as_usage_error(config.check())?;
        return pretrain(BaseModelConfig { steps: 0, ..config }, args.run.compute.seed, device);
    }
    ensure!(
        args.model.is_some() || Path::new(source).is_dir(),
        "there is no {source}, which the run began with"
    );
    Checkpoint::open(source, LoadMode::Training(DType::F32), device)
}
