//! The model that a run begins with.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use modern::{Checkpoint, LoadMode};
use tiny_gpt::command::as_usage_error;

use super::arguments::TrainArgs;
use crate::base_model::{self, BaseModelConfig};

/// The model to begin with: the one that is named, the one that the run to be resumed began with, or, for all to be tried on it,
/// a new one as it is before pretraining.
pub(super) fn load_base_model(args: &TrainArgs, base: &str, device: &Device) -> Result<Checkpoint> {
    if args.model.is_some() || args.run.settings.resume {
        ensure!(
            args.model.is_some() || Path::new(base).is_dir(),
            "there is no {base}, which the run began with"
        );
        return Checkpoint::open(base, LoadMode::Training(DType::F32), device);
    }
    let config = args.base.config();
    as_usage_error(config.check())?;
    base_model::pretrain(BaseModelConfig { steps: 0, ..config }, args.run.compute.seed, device)
}

/// The new one, pretrained, which the run keeps in `base/`.
pub(super) fn pretrain_and_save(
    args: &TrainArgs,
    base: &str,
    device: &Device,
) -> Result<Checkpoint> {
    let config = args.base.config();
    println!("pretraining a small model for {} steps", config.steps);
    let checkpoint = base_model::pretrain(config, args.run.compute.seed, device)?;
    checkpoint.save(Path::new(base))?;
    Ok(checkpoint)
}
