//! Settings from a file: the command line, written down.
//!
//! `--config run.yaml` with the line `n_layer: 6` means what `--n-layer 6` would mean, so a file is checked like any command
//! line and every flag can stand in one. What comes later wins: the defaults, the settings of the run that `--resume`
//! continues, the file, `--set n_layer=6`, the flags themselves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tiny_gpt::RunFolder;

/// Where more settings come from.
#[derive(Debug, Clone, clap::Args)]
pub struct SettingsFlags {
    /// A YAML file of flags: `n_layer: 6` is --n-layer 6
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A single one of these, for example --set n_layer=6
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue the run in --out, bit for bit, with the settings that it has
    #[arg(long)]
    pub resume: bool,
}

/// The command line `args` (program, subcommand, flags) with all that its settings say written out, so that later flags win.
/// A run to be resumed is in `--out`, or else in `default_out`.
///
/// # Errors
/// When a file cannot be read or is not a list of flags, or there is no run to resume.
pub fn expand_config(
    args: impl IntoIterator<Item = impl Into<OsString>>,
    default_out: &str,
) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let flags = args.split_off(args.len().min(2)); // after the program and the subcommand
    let last = |name: &str| flag_values(&flags, name).pop();
    let mut settings = Settings::new();
    if let Some(path) = last("--config") {
        settings = read_settings_file(Path::new(&path))?;
    }
    for setting in flag_values(&flags, "--set") {
        let text = setting.to_string_lossy();
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--set {text}: expected KEY=VALUE, for example n_layer=6"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        settings.insert(key.to_string(), value);
    }
    if let Some(key) = COMMAND_LINE_ONLY.into_iter().find(|&key| settings.contains_key(key)) {
        bail!("`{key}` is a flag of the command line alone");
    }
    if flags.iter().any(|flag| flag == "--resume") {
        let set = settings.get("out").and_then(Value::as_str).map(OsString::from);
        let out = last("--out").or(set).unwrap_or_else(|| default_out.into());
        let old = RunFolder::read_settings(Path::new(&out))?;
        let old = old.with_context(|| {
            format!(
                "there is no run in {} to resume: leave --resume out to begin one",
                out.display()
            )
        })?;
        let mut old: Settings = serde_json::from_value(old)?;
        old.retain(|key, _| !TRANSIENT.contains(&key.as_str()));
        old.extend(settings);
        settings = old;
    }
    args.extend(settings_to_flags(&settings)?);
    args.extend(flags);
    Ok(args)
}

/// The command line `args` (program, subcommand, flags) with those settings `keys` of the run that `--model` names written out, so that
/// a model is asked about what it learned. A folder whose settings lack one of them is that of another program, and says nothing.
///
/// # Errors
/// When the run's settings cannot be read.
pub fn inherit_from_run(
    args: impl IntoIterator<Item = impl Into<OsString>>,
    keys: &[&str],
) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let flags = args.split_off(args.len().min(2));
    let model = flag_values(&flags, "--model").pop();
    let run = model.map(|model| RunFolder::read_settings(Path::new(&model))).transpose()?.flatten();
    if let Some(Value::Object(run)) = run
        && keys.iter().all(|&key| run.contains_key(key))
    {
        let own = keys.iter().map(|&key| (key.to_string(), run[key].clone()));
        args.extend(settings_to_flags(&own.collect())?);
    }
    args.extend(flags);
    Ok(args)
}

type Settings = BTreeMap<String, Value>;

/// Flags that say where settings come from.
const COMMAND_LINE_ONLY: [&str; 3] = ["config", "set", "resume"];
/// Flags that mean one start of a run, and not the next.
const TRANSIENT: [&str; 2] = ["stop_after", "json"];

fn read_settings_file(path: &Path) -> Result<Settings> {
    let reading = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).with_context(reading)?;
    let settings: Settings = serde_saphyr::from_str(&text)
        .map_err(|error| first_line(&error))
        .with_context(|| format!("{} is no YAML of settings", path.display()))?;
    settings_to_flags(&settings).with_context(|| path.display().to_string())?;
    Ok(settings)
}

/// What follows `name` in `flags`, each time.
fn flag_values(flags: &[OsString], name: &str) -> Vec<OsString> {
    let mut values = Vec::new();
    for (i, flag) in flags.iter().enumerate() {
        let text = flag.to_string_lossy();
        if flag == name {
            values.extend(flags.get(i + 1).cloned());
        } else if let Some(value) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('='))
        {
            values.push(value.into());
        }
    }
    values
}

/// Each setting as the flag that it is.
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

fn first_line(error: &impl ToString) -> anyhow::Error {
    anyhow::anyhow!(error.to_string().lines().next().unwrap_or_default().to_string())
}

/// What may change when a run is resumed: where things are and what is shown, not what is computed. What the data hold is compared
/// apart.
const OVERRIDABLE_ON_RESUME: [&str; 13] = [
    "data",
    "device",
    "eval_interval",
    "json",
    "keep_checkpoints",
    "log_interval",
    "merge",
    "model",
    "out",
    "save_interval",
    "stop_after",
    "threads",
    "tracker",
];

/// Whether the run in `out` can go on with these settings, which differ from its own in nothing that is computed. What a part does not
/// compute with is in `free`.
///
/// # Errors
/// Names each difference; and when there is no run.
pub fn check_resumable(out: &Path, settings: &Value, free: &[&str]) -> Result<()> {
    let old = RunFolder::read_settings(out)?;
    let old = old.with_context(|| format!("there is no run in {} to resume", out.display()))?;
    check_unchanged(&old, settings, &[&OVERRIDABLE_ON_RESUME, free].concat())
}

/// How `new` settings differ from those a run was begun with, where that matters; `free` may differ.
pub(crate) fn check_unchanged(old: &Value, new: &Value, free: &[&str]) -> Result<()> {
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
    bail!("the run cannot be continued with other settings: {}", differences.join(", "))
}
