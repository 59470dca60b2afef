//! Settings of a resumed run, compared with those that it was begun with.

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{Args, Command};
use serde_json::Value;

use super::merge::canonical;
use super::names::Settings;
use crate::RunFolder;

/// Settings that may change on `--resume`: paths and output, not what is computed, apart from the
/// number of steps, which extends a run. Whether the data are the same is checked separately.
const OVERRIDABLE_ON_RESUME: [&str; 22] = [
    "data",
    "dataset_config",
    "device",
    "epochs",
    "eval_examples",
    "eval_interval",
    "json",
    "keep_checkpoints",
    "log_interval",
    "merge",
    "model",
    "out",
    "patience",
    "run_name",
    "save_interval",
    "split",
    "steps",
    "stop_after",
    "stop_when_solved",
    "threads",
    "tracker",
    "wandb_project",
];

/// Checks that the run in `out` can be resumed with the `settings` of the arguments `A`: they
/// differ from its own in nothing that is computed. `free` lists what a part may change besides.
///
/// # Errors
/// Names each difference; and when there is no run.
pub fn check_resumable<A: Args>(out: &Path, settings: &Value, free: &[&str]) -> Result<()> {
    let old = RunFolder::read_settings(out)?;
    let old = old.with_context(|| format!("there is no run in {} to resume", out.display()))?;
    let old = canonical(
        serde_json::from_value::<Settings>(old)?,
        &A::augment_args(Command::new("train")),
    )?;
    let old = serde_json::to_value(old)?;
    check_unchanged(&old, settings, &[&OVERRIDABLE_ON_RESUME, free].concat())
}

/// Checks that `new` settings equal those a run was begun with, apart from those in `free`.
pub fn check_unchanged(old: &Value, new: &Value, free: &[&str]) -> Result<()> {
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let mut keys = [keys(old), keys(new)].into_iter().flatten().flatten().collect::<Vec<_>>();
    keys.sort();
    keys.dedup();
    let differences: Vec<String> = keys
        .iter()
        .filter(|key| !free.contains(&key.as_str()) && old[key] != new[key])
        .map(|key| format!("{key} was {} and is {}", old[key], new[key]))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    bail!("the run cannot be resumed with other settings: {}", differences.join(", "))
}
