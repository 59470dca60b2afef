//! Base model of a run.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use experiment::program::as_usage_error;
use model_io::LoadMode;
use modern::Checkpoint;

use super::arguments::TrainArgs;
use crate::base_model::{self, BaseModelConfig};

/// Base model of a run: `--model`, or the one that the resumed run started from. For a new run
/// without `--model`, an untrained model of the right shape: all other arguments are validated on
/// it before time is spent on pretraining.
pub(super) fn load_base_model(args: &TrainArgs, base: &str, device: &Device) -> Result<Checkpoint> {
    if args.model.is_some() || args.run.settings.resume {
        ensure!(
            args.model.is_some() || Path::new(base).is_dir(),
            "there is no {base}, the base model of this run"
        );
        return Checkpoint::open(base, LoadMode::Training(DType::F32), device);
    }
    let config = args.base.config();
    as_usage_error(config.check())?;
    base_model::pretrain(BaseModelConfig { steps: 0, ..config }, args.run.compute.seed, device)
}

/// Pretrained base model of a new run, saved in its `base/`.
pub(super) fn pretrain_and_save(
    args: &TrainArgs,
    base: &str,
    device: &Device,
) -> Result<Checkpoint> {
    let config = args.base.config();
    println!("pretraining a small base model for {} steps", config.steps);
    let checkpoint = base_model::pretrain(config, args.run.compute.seed, device)?;
    checkpoint.save(Path::new(base))?;
    Ok(checkpoint)
}
