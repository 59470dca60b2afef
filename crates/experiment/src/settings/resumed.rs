//! Settings of a run: those of its arguments, and on a resume those that it was begun with.

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{Args, Command};
use serde::Serialize;
use serde_json::{Map, Value};

use super::merge::{ALTERNATIVES, canonical, default_value};
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

/// Settings of `args`: those of its groups of flags, which are nested objects, in one list.
///
/// # Errors
/// Never in practice: flags are numbers, texts and switches.
pub fn settings_of(args: &impl Serialize) -> Result<Value> {
    let mut settings = Map::new();
    collect_settings(serde_json::to_value(args)?, &mut settings);
    Ok(Value::Object(settings))
}

fn collect_settings(group: Value, settings: &mut Map<String, Value>) {
    let Value::Object(group) = group else { return };
    for (key, value) in group {
        match value.is_object() {
            true => collect_settings(value, settings),
            false => drop(settings.insert(key, value)),
        }
    }
}

/// Settings of the run in `out`, which is to be resumed, by the flags of `command`.
///
/// # Errors
/// When there is no run.
pub(super) fn settings_to_resume(out: &Path, command: &Command) -> Result<Settings> {
    let settings = RunFolder::read_settings(out)?.with_context(|| {
        format!("there is no run in {} to resume: omit --resume to start one", out.display())
    })?;
    canonical(serde_json::from_value::<Settings>(settings)?, command)
}

/// Checks that the run in `out` can be resumed with the `settings` of the arguments `A`: they
/// differ from its own in nothing that is computed. A setting that is newer than the run had its
/// default. `free` lists what a part may change besides. Of two settings of one quantity, the other
/// may be given now: the quantity is compared once it is resolved.
///
/// # Errors
/// Names each difference; and when there is no run.
pub fn check_resumable<A: Args>(out: &Path, settings: &Value, free: &[&str]) -> Result<()> {
    let command = A::augment_args(Command::new("train"));
    let mut old = settings_to_resume(out, &command)?;
    for flag in command.get_arguments() {
        let key = flag.get_long().unwrap_or_default().replace('-', "_");
        if settings.get(&key).is_some() {
            old.entry(key).or_insert_with(|| default_value(flag));
        }
    }
    let old = serde_json::to_value(old)?;
    let is_switch = |[a, b]: [&str; 2]| {
        let is_from = |a: &str, b: &str| {
            let is_given = |settings: &Value| [a, b].map(|key| !settings[key].is_null());
            is_given(&old) == [true, false] && is_given(settings) == [false, true]
        };
        is_from(a, b) || is_from(b, a)
    };
    let switched = ALTERNATIVES.into_iter().filter(|&pair| is_switch(pair)).flatten();
    let free: Vec<&str> =
        OVERRIDABLE_ON_RESUME.iter().chain(free).copied().chain(switched).collect();
    check_unchanged(&old, settings, &free)
}

/// Checks that the settings of one quantity, once it is `resolved` from the data and the model, are
/// those of the `old` run.
///
/// # Errors
/// Names each difference.
pub(crate) fn check_resolved(old: &Value, resolved: &Value) -> Result<()> {
    let only_alternatives = |settings: &Value| -> Value {
        let keys = ALTERNATIVES.iter().flatten().filter(|key| old.get(**key).is_some());
        keys.map(|key| (key.to_string(), settings[key].clone())).collect()
    };
    let (old, resolved) = (only_alternatives(old), only_alternatives(resolved));
    check_unchanged(&old, &resolved, &OVERRIDABLE_ON_RESUME)
}

/// Checks that `new` settings equal those a run was begun with, apart from those in `free`.
pub fn check_unchanged(old: &Value, new: &Value, free: &[&str]) -> Result<()> {
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let mut keys = [keys(old), keys(new)].into_iter().flatten().flatten().collect::<Vec<_>>();
    keys.sort();
    keys.dedup();
    let differences: Vec<String> = keys
        .iter()
        .filter(|key| !free.contains(&key.as_str()) && !is_equal(&old[key], &new[key]))
        .map(|key| format!("{key} was {} and is {}", old[key], new[key]))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    bail!("the run cannot be resumed with other settings: {}", differences.join(", "))
}

/// Equality of settings, where 1 and 1.0 are the same number.
fn is_equal(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}
