//! Going on with a run: its newest whole checkpoint, its figures up to there, and the settings of this start.

use std::path::Path;

use anyhow::{Context, Result};
use scaling::Checkpoints;
use serde_json::Value;
use tiny_gpt::{RunFolder, json_file};

use crate::Tuning;

/// Brings `tuning` to where the run in `out` was, which learned from `data`; the run's folder, and its figures.
///
/// # Errors
/// When there is no checkpoint, or it is of another model or other data.
pub fn resume(
    out: &Path,
    settings: &Value,
    tuning: &mut Tuning,
    checkpoints: &Checkpoints,
    data: &str,
) -> Result<(RunFolder, Vec<Value>)> {
    let (step, path) = checkpoints.newest()?.with_context(|| {
        format!("{} has no checkpoint yet: leave --resume out to begin anew", out.display())
    })?;
    tuning.restore(&path, data)?;
    let begun = RunFolder::resume(out, step)?;
    json_file::write(&out.join("config.json"), settings)?;
    println!("resuming after step {step}");
    Ok(begun)
}
