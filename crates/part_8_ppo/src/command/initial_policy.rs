//! Policy that a run starts from.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use experiment::program::as_usage_error;
use model_io::LoadMode;
use modern::Checkpoint;
use sft::base_model::{BaseModelConfig, pretrain};
use sft::finetuned::resolve_model_path;

use super::arguments::TrainArgs;

/// Path of the initial policy: --model, else the run's own `base/`.
pub(super) fn policy_source(args: &TrainArgs) -> String {
    let own = args.out.join("base").to_string_lossy().into_owned();
    args.model.as_deref().map_or(own, resolve_model_path)
}

/// Initial policy, opened for training. A new run without --model gets an untrained model of the
/// right shape, so that all flags are validated before minutes of pretraining.
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
        "{source}, the initial policy of the run, does not exist"
    );
    Checkpoint::open(source, LoadMode::Training(DType::F32), device)
}
