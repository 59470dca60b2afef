//! 4.4 Going on with a run: its newest whole checkpoint, its figures up to there, and the settings of this start.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tiny_gpt::command::shell_quote;
use tiny_gpt::{RunFolder, json_file};

use crate::Checkpoints;

/// The newest whole checkpoint of the run in `out`, and its step.
///
/// # Errors
/// When there is none.
pub fn latest_checkpoint(out: &Path, checkpoints: &Checkpoints) -> Result<(usize, PathBuf)> {
    checkpoints.latest()?.with_context(|| {
        format!("{} has no checkpoint yet: leave --resume out to begin anew", out.display())
    })
}

/// The folder of the run in `out` as it was after `step` steps, which goes on with these settings, and its figures.
///
/// # Errors
/// When it cannot be read or written.
pub fn reopen_run(out: &Path, settings: &Value, step: usize) -> Result<(RunFolder, Vec<Value>)> {
    let reopened = RunFolder::resume(out, step)?;
    json_file::write(&out.join("config.json"), settings)?;
    println!("resuming after step {step}");
    Ok(reopened)
}

/// What is said of a run of `part` that stopped early.
pub fn resume_hint(part: &str, step: usize, total: usize, out: &Path) -> String {
    format!(
        "stopped and saved after step {step} of {total}; continue with: cargo run --release -p {part} -- train --resume --out {}",
        shell_quote(out)
    )
}
