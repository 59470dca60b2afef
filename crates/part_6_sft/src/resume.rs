//! Going on with a run that began with a model.

use std::path::Path;

use anyhow::{Context, Result};
use scaling::Checkpoints;
use scaling::resume::{newest, reopened};
use serde_json::Value;
use tiny_gpt::RunFolder;

/// Has `restore` take over the newest checkpoint of the run in `out`; the run's folder, and its figures up to there.
///
/// # Errors
/// When there is no checkpoint, or it is of another model or other data.
pub fn resume(
    out: &Path,
    settings: &Value,
    checkpoints: &Checkpoints,
    restore: impl FnOnce(&Path) -> Result<()>,
) -> Result<(RunFolder, Vec<Value>)> {
    let (step, path) = newest(out, checkpoints)?;
    let model = |settings: &Value| settings["model"].as_str().unwrap_or("its own base").to_string();
    let began = RunFolder::settings(out)?.map_or_else(|| model(settings), |old| model(&old));
    restore(&path).with_context(|| match model(settings) {
        now if now == began => format!("{} cannot go on", out.display()),
        now => format!("{} began with {began} and cannot go on with {now}", out.display()),
    })?;
    reopened(out, settings, step)
}
