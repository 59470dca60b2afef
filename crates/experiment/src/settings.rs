//! Settings files: YAML keys and `--set` pairs are command-line flags by another spelling.
//!
//! `--config run.yaml` with the line `n_layer: 6` means what `--n-layer 6` means, so a file is
//! checked like any command line and every flag, under any of its names, can stand in one. Later
//! sources win: the defaults, the settings of the run that `--resume` continues, the file,
//! `--set n_layer=6`, the flags themselves.
//!
//! A flag that was renamed keeps its old name as an alias, so the aliases that clap knows also
//! translate the keys of an old run's `config.json`.

mod names;
mod resumed;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Command, CommandFactory};
use names::{Settings, canonical, find_flag, spellings};
pub use resumed::{check_resumable, check_unchanged};
use serde_json::Value;

use crate::RunFolder;
use crate::usage_error::{as_usage_error, ensure_usage};

/// Flags that add settings from a file, from `KEY=VALUE` pairs or from the run being resumed.
#[derive(Debug, Clone, clap::Args)]
pub struct SettingsFlags {
    /// YAML file of flags: `n_layer: 6` means --n-layer 6
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting of such a file, for example --set n_layer=6; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Resume the run in --out from its latest checkpoint, with its settings, bit for bit; a larger
    /// --steps makes it longer, no other setting of training can change
    #[arg(long)]
    pub resume: bool,
}

/// Command line `args` (program, subcommand, flags) of `C` with its settings written out as flags,
/// in an order in which later flags win. The run to resume is in `--out`.
///
/// # Errors
/// When a file cannot be read or is not a list of flags, or there is no run to resume.
pub fn expand_config<C: CommandFactory>(
    args: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = args.into_iter().map(|arg| with_dashes(arg.into())).collect();
    let flags = args.split_off(args.len().min(2)); // after the program and the subcommand
    let command = subcommand::<C>(&args);
    let last = |name: &str| flag_values(&flags, &spellings(&command, name)).pop();
    let mut settings = Settings::new();
    if let Some(path) = last("config") {
        settings = read_settings_file(Path::new(&path), &command)?;
    }
    for setting in flag_values(&flags, &spellings(&command, "set")) {
        let text = setting.to_string_lossy();
        let pair = text.split_once('=');
        let (key, value) =
            as_usage_error(pair.ok_or_else(|| {
                format!("--set {text}: expected KEY=VALUE, for example n_layer=6")
            }))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        let setting = canonical([(key.to_string(), value)].into(), &command)?;
        override_settings(&mut settings, setting);
    }
    for key in COMMAND_LINE_ONLY {
        let is_allowed = !settings.contains_key(key);
        ensure_usage(is_allowed, format!("`{key}` is a flag of the command line alone"))?;
    }
    let resumes = spellings(&command, "resume");
    let is_resume = |flag: &OsString| resumes.iter().any(|name| flag == name.as_str());
    if find_flag(&command, "resume").is_some() && flags.iter().any(is_resume) {
        let set = settings.get("out").and_then(Value::as_str).map(OsString::from);
        let default = find_flag(&command, "out").and_then(|out| out.get_default_values().first());
        let out = last("out").or(set).or_else(|| Some(default?.into())).unwrap_or_default();
        let old = RunFolder::read_settings(Path::new(&out))?;
        let old = old.with_context(|| {
            format!("there is no run in {} to resume: omit --resume to start one", out.display())
        })?;
        let mut old = canonical(serde_json::from_value(old)?, &command)?;
        let is_foreign = |key: &str, value: &Value| {
            find_flag(&command, key).is_none() && !value.is_null() && *value != false
        };
        if let Some((key, _)) = old.iter().find(|(key, value)| is_foreign(key, value)) {
            bail!(
                "{} is a run of another program or version: `{key}` is no setting of this one",
                out.display()
            );
        }
        old.retain(|key, _| !TRANSIENT.contains(&key.as_str()));
        override_settings(&mut old, settings);
        settings = old;
    }
    remove_alternatives(&mut settings, |name| last(name).is_some());
    args.extend(settings_to_flags(&settings)?);
    args.extend(flags);
    Ok(args)
}

/// Flag with dashes, if it has underscores: `--max_steps=3` means `--max-steps=3`.
fn with_dashes(arg: OsString) -> OsString {
    match arg.to_str().and_then(|text| text.strip_prefix("--")) {
        Some(flag) => {
            let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
            format!("--{}{value}", name.replace('_', "-")).into()
        }
        None => arg,
    }
}

/// Name of the flag of the subcommand `train` of `C` that `name` means, as in settings files.
pub fn train_setting<C: CommandFactory>(name: &str) -> Option<String> {
    let command = subcommand::<C>(&["".into(), "train".into()]);
    Some(find_flag(&command, name)?.get_long()?.replace('-', "_"))
}

/// Command line `args` (program, subcommand, flags) of `C` with the settings `keys` of the run that
/// `--model` names written out as flags, so that a model is evaluated on what it was trained for. A
/// folder whose settings lack one of the keys belongs to another program and adds nothing.
pub(crate) fn inherit_from_run<C: CommandFactory>(
    mut args: Vec<OsString>,
    keys: &[&str],
) -> Result<Vec<OsString>> {
    let flags = args.split_off(args.len().min(2));
    let command = subcommand::<C>(&args);
    let model = flag_values(&flags, &spellings(&command, "model")).pop();
    let run = model.map(|model| RunFolder::read_settings(Path::new(&model))).transpose()?.flatten();
    if let Some(run @ Value::Object(_)) = run {
        let run = canonical(serde_json::from_value(run)?, &command)?;
        let has_other_data = !flag_values(&flags, &spellings(&command, "data")).is_empty();
        let is_inherited = |key: &str| !(has_other_data && PARTS_OF_DATA.contains(&key));
        if keys.iter().all(|&key| run.contains_key(key) || ADDED_LATER.contains(&key)) {
            let own = keys.iter().filter(|key| is_inherited(key));
            let own = own.map(|&key| (key.to_string(), run.get(key).cloned().unwrap_or_default()));
            args.extend(settings_to_flags(&own.collect())?);
        }
    }
    args.extend(flags);
    Ok(args)
}

/// Flags that set the same quantity in two ways. One in a later source replaces the other in an
/// earlier one; both in one source are an error of clap's.
const ALTERNATIVES: [[&str; 2]; 2] = [["steps", "epochs"], ["warmup_steps", "warmup_ratio"]];

/// Adds the settings of a `later` source to those of earlier ones, which they replace.
fn override_settings(earlier: &mut Settings, later: Settings) {
    let is_set = |key: &str| later.get(key).is_some_and(|value| !value.is_null());
    remove_alternatives(earlier, is_set);
    earlier.extend(later);
}

/// Removes each of `settings` whose alternative is set later.
fn remove_alternatives(settings: &mut Settings, is_set_later: impl Fn(&str) -> bool) {
    for [a, b] in ALTERNATIVES {
        for (earlier, later) in [(a, b), (b, a)] {
            if is_set_later(later) {
                settings.remove(earlier);
            }
        }
    }
}

/// Flags that name sources of settings and cannot stand in one.
const COMMAND_LINE_ONLY: [&str; 3] = ["config", "set", "resume"];
/// Flags that hold for one start of a run and are not taken over by `--resume`.
const TRANSIENT: [&str; 2] = ["stop_after", "json"];

/// Settings that old runs lack.
const ADDED_LATER: [&str; 4] =
    ["dataset_config", "max_prompt_length", "split", "stopping_strategy"];

/// Flags that choose a part of `--data`, and are not those of a run with other data.
const PARTS_OF_DATA: [&str; 3] = ["dataset_config", "split", "stopping_strategy"];

/// Command that the second of `args` selects, or `C` itself.
fn subcommand<C: CommandFactory>(args: &[OsString]) -> Command {
    let command = C::command();
    let name = args.get(1).map(|name| name.to_string_lossy().into_owned());
    name.and_then(|name| command.find_subcommand(name).cloned()).unwrap_or(command)
}

fn read_settings_file(path: &Path, command: &Command) -> Result<Settings> {
    let reading = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).with_context(reading)?;
    let settings: Settings = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow!("{}", error.to_string().lines().next().unwrap_or_default()))
        .with_context(|| format!("{} is not a YAML file of settings", path.display()))?;
    let settings = canonical(settings, command).with_context(|| path.display().to_string())?;
    settings_to_flags(&settings).with_context(|| path.display().to_string())?;
    Ok(settings)
}

/// Values that follow a flag under any of its `spellings`, in order.
fn flag_values(flags: &[OsString], spellings: &[String]) -> Vec<OsString> {
    let mut values = Vec::new();
    for (i, flag) in flags.iter().enumerate() {
        let text = flag.to_string_lossy();
        for name in spellings {
            if text == name.as_str() {
                values.extend(flags.get(i + 1).cloned());
            } else if let Some(value) =
                text.strip_prefix(name).and_then(|rest| rest.strip_prefix('='))
            {
                values.push(value.into());
            }
        }
    }
    values
}

/// Flags that say what `settings` say; `false` and `null` leave a flag out.
fn settings_to_flags(settings: &Settings) -> Result<Vec<OsString>> {
    let mut flags = Vec::new();
    for (key, value) in settings {
        let flag = format!("--{}", key.replace('_', "-"));
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => flags.push(flag.into()),
            Value::String(text) => flags.push(format!("{flag}={text}").into()),
            Value::Number(number) => flags.push(format!("{flag}={number}").into()),
            Value::Array(_) | Value::Object(_) => bail!("`{key}` must be a single value"),
        }
    }
    Ok(flags)
}
