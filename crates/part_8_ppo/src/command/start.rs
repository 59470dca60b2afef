//! The policy that a run begins with.

use anyhow::Result;
use candle_core::{DType, Device};
use modern::{Checkpoint, Purpose};
use reward::start::small_model_of_run;
use serde_json::Value;
use sft::tuned::model_in;

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
    if args.model.is_none() && !args.run.settings.resume {
        let how = (args.base.config(), args.sft_steps);
        small_model_of_run(&args.out, settings, how, args.run.compute.seed, device)?;
    }
    let source = args.model.as_deref().map_or(own, model_in);
    Ok((Checkpoint::open(&source, purpose, device)?, source))
}
