//! Settings of a run that its evaluation inherits.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use clap::CommandFactory;
use serde_json::Value;

use super::given_flags::{flag_values, subcommand};
use super::merge::{canonical, settings_to_flags};
use super::names::{Settings, spellings};
use crate::RunFolder;

/// Command line `args` (program, subcommand, flags) of `C` with the settings `keys` of the run that
/// the model `--model` belongs to written out as flags, so that a model is evaluated on what it was
/// trained for. A folder whose settings lack one of the keys belongs to another program and adds
/// nothing.
pub(crate) fn inherit_from_run<C: CommandFactory>(
    mut args: Vec<OsString>,
    keys: &[&str],
) -> Result<Vec<OsString>> {
    let flags = args.split_off(args.len().min(2));
    let command = subcommand::<C>(&args);
    let model = flag_values(&flags, &spellings(&command, "model")).pop();
    let run =
        model.map(|model| RunFolder::settings_of_model(Path::new(&model))).transpose()?.flatten();
    if let Some(run @ Value::Object(_)) = run {
        let run = canonical(serde_json::from_value::<Settings>(run)?, &command)?;
        let has_other_data = !flag_values(&flags, &spellings(&command, "data")).is_empty();
        let is_inherited = |key: &str| !(has_other_data && PARTS_OF_DATA.contains(&key));
        // A run of part 10 on pairs has the flags of a task and did not learn from it.
        let has_pairs = run.get("online") == Some(&Value::Null) && keys.contains(&"task");
        let is_known = |key: &str| run.contains_key(key) || NOT_IN_ALL_RUNS.contains(&key);
        if !has_pairs && keys.iter().all(|&key| is_known(key)) {
            let own = keys.iter().filter(|key| is_inherited(key));
            let own = own.map(|&key| (key.to_string(), run.get(key).cloned().unwrap_or_default()));
            args.extend(settings_to_flags(&own.collect())?);
        }
    }
    args.extend(flags);
    Ok(args)
}

/// Settings that old runs lack, or runs of part 10 on completions of the policy.
const NOT_IN_ALL_RUNS: [&str; 8] = [
    "correct_reward",
    "dataset_config",
    "judge_template_arg",
    "max_prompt_length",
    "prompt_format",
    "split",
    "stopping_strategy",
    "wrong_reward",
];

/// Flags that choose a part of `--data`, and are not those of a run with other data.
const PARTS_OF_DATA: [&str; 3] = ["dataset_config", "split", "stopping_strategy"];
