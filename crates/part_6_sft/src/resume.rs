//! Going on with a run: its newest whole checkpoint, its figures up to there, and the settings of this start.

use std::path::{Path, PathBuf};

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
    let (step, path) = newest(out, checkpoints)?;
    let model = |settings: &Value| settings["model"].as_str().unwrap_or("its own base").to_string();
    let began = RunFolder::settings(out)?.map_or_else(|| model(settings), |old| model(&old));
    tuning.restore(&path, data).with_context(|| match model(settings) {
        now if now == began => format!("{} cannot go on", out.display()),
        now => format!("{} began with {began} and cannot go on with {now}", out.display()),
    })?;
    let begun = RunFolder::resume(out, step)?;
    json_file::write(&out.join("config.json"), settings)?;
    println!("resuming after step {step}");
    Ok(begun)
}

/// The newest whole checkpoint of the run in `out`, and its step.
///
/// # Errors
/// When there is none.
pub fn newest(out: &Path, checkpoints: &Checkpoints) -> Result<(usize, PathBuf)> {
    checkpoints.newest()?.with_context(|| {
        format!("{} has no checkpoint yet: leave --resume out to begin anew", out.display())
    })
}
