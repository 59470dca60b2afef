//! 4.4 Resuming a run: its newest intact checkpoint, its metrics up to that step, and the settings
//! of this start.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tensor_core::json_file;

use crate::program::shell_quote;
use crate::{Checkpoints, RunFolder};

/// Step and folder of the newest intact checkpoint of the run in `out`.
///
/// # Errors
/// When the run does not have an intact checkpoint.
pub fn latest_checkpoint(out: &Path, checkpoints: &Checkpoints) -> Result<(usize, PathBuf)> {
    checkpoints.latest()?.with_context(|| {
        format!("{} has no checkpoint yet: omit --resume to start a new run", out.display())
    })
}

/// Reopens the run folder `out` at `step` with `settings`; returns it and the rows of its metrics.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn reopen_run(out: &Path, settings: &Value, step: usize) -> Result<(RunFolder, Vec<Value>)> {
    let reopened = RunFolder::resume(out, step)?;
    json_file::write(&out.join("config.json"), settings)?;
    println!("resuming after step {step}");
    Ok(reopened)
}

/// Message about a run of `part` that stopped early, with the command that resumes it.
pub fn resume_hint(part: &str, step: usize, total: usize, out: &Path) -> String {
    format!(
        "stopped and saved after step {step} of {total}; \
         continue with: cargo run --release -p {part} -- train --resume --out {}",
        shell_quote(out)
    )
}
