//! Settings files: YAML keys and `--set` pairs are command-line flags by another spelling.
//!
//! `--config run.yaml` with the line `n_layer: 6` means what `--n-layer 6` means, so a file is
//! checked like any command line and every flag, under any of its names, can stand in one. Later
//! sources win: the defaults, the settings of the run that `--resume` continues, the file,
//! `--set n_layer=6`, the flags themselves.
//!
//! A flag that was renamed keeps its old name as an alias, so the aliases that clap knows also
//! translate the keys of an old run's `config.json`.
//!
//! A file may have sections and inherit from others (`source`), and the keys of some other
//! projects have a meaning here (`foreign_keys`). After the flags, `KEY=VALUE` means `--set
//! KEY=VALUE` (`given_flags`). An evaluation has the settings of the run that it evaluates
//! (`inherited`).

pub(crate) mod foreign_keys;
mod given_flags;
mod inherited;
mod merge;
mod names;
mod on_ranks;
mod resumed;
pub(crate) mod current_keys;
pub(crate) mod source;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::CommandFactory;
use given_flags::{flag_values, given_value, subcommand, take_pairs, with_dashes};
pub(crate) use inherited::inherit_from_run;
use merge::{merge, override_settings, remove_alternatives, settings_to_flags, value_of};
use names::{find_flag, spellings};
pub(crate) use on_ranks::ensure_same_settings;
use ranks::Ranks;
pub(crate) use resumed::check_resolved;
use resumed::settings_to_resume;
pub use resumed::{check_resumable, check_unchanged, settings_of};
use serde_json::{Map, Value};
use source::{Source, TRANSIENT};

use crate::rank_folder::run_folder_of_rank;
use crate::usage_error::{as_usage_error, ensure_usage};

/// Flags that add settings from a file, from `KEY=VALUE` pairs or from the run being resumed.
#[derive(Debug, Clone, clap::Args)]
pub struct SettingsFlags {
    /// YAML file of flags: `n_layer: 6` means --n-layer 6. `defaults: [base.yaml]` inherits from
    /// others, ${key} is the value of another key, and sections have the keys at the end of --help
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting of such a file, for example --set n_layer=6; may be repeated, and n_layer=6
    /// alone means the same
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Resume the run in --out from its latest checkpoint, with its settings, bit for bit; a larger
    /// --steps makes it longer, no other setting of training can change
    #[arg(long)]
    pub resume: bool,
}

impl SettingsFlags {
    /// True if settings are read from a file or from the run that is resumed. They may be those of
    /// a run of an earlier version.
    pub fn are_read(&self) -> bool {
        self.config.is_some() || self.resume
    }
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
    let mut flags = args.split_off(args.len().min(2)); // after the program and the subcommand
    let command = subcommand::<C>(&args);
    let pairs = take_pairs(&mut flags, &command);
    let last = |name: &str| flag_values(&flags, &spellings(&command, name)).pop();
    let config = last("config").map(|path| Source::read_files(Path::new(&path))).transpose()?;
    let mut sources = config.unwrap_or_default();
    for pair in pairs {
        sources.push(as_usage_error(Source::from_pair(&pair.to_string_lossy()))?);
    }
    let values: Map<String, Value> =
        sources.iter().flat_map(|source| source.values.clone()).collect();
    let given = |name: &str| given_value(&flags, name, &command);
    let value_of = |key: &str| value_of(key, &sources, given, &command);
    let mut settings = merge(&sources, &value_of, &command)?;
    let resumes = spellings(&command, "resume");
    let is_resume = |flag: &OsString| resumes.iter().any(|name| flag == name.as_str());
    let is_resumed = find_flag(&command, "resume").is_some() && flags.iter().any(is_resume);
    let set = settings.get("out").and_then(Value::as_str).map(OsString::from);
    let default = find_flag(&command, "out").and_then(|out| out.get_default_values().first());
    let mut out = last("out").or(set).or_else(|| Some(default?.into())).unwrap_or_default();
    let ranks = Ranks::of_process()?;
    let mut flag_of_rank = None;
    if ranks.are_several() {
        ensure_batch_of_all_ranks(&flags, &values)?;
        out = run_folder_of_rank(&ranks, Path::new(&out), is_resumed)?.into();
        flag_of_rank = Some(OsString::from_iter([OsStr::new("--out="), &out]));
    }
    if is_resumed {
        let mut old = settings_to_resume(Path::new(&out), &command)?;
        let is_foreign = |key: &str, value: &Value| {
            find_flag(&command, key).is_none() && !value.is_null() && *value != false
        };
        if let Some((key, _)) = old.iter().find(|(key, value)| is_foreign(key, value)) {
            bail!(
                "{} is a run of another program or version: `{key}` is no setting of this one",
                out.display()
            );
        }
        let is_transient = |key: &str| TRANSIENT.contains(&key);
        // The number of threads of several ranks is set before the run folder is read.
        old.retain(|key, _| !(is_transient(key) || ranks.are_several() && key == "threads"));
        override_settings(&mut old, settings);
        settings = old;
    }
    let is_flag = |name: &str| last(name).is_some();
    for (key, value) in foreign_keys::implied(&values, &settings, is_flag, &command) {
        settings.entry(key).or_insert(value);
    }
    remove_alternatives(&mut settings, |name| last(name).is_some());
    args.extend(settings_to_flags(&settings)?);
    args.extend(flags);
    args.extend(flag_of_rank);
    Ok(args)
}

/// Refuses the batch size of one device, where several ranks share a batch, in `flags` and in the
/// `values` of settings files.
fn ensure_batch_of_all_ranks(flags: &[OsString], values: &Map<String, Value>) -> Result<()> {
    const PER_DEVICE: &str = "--per-device-train-batch-size";
    let is_given = flags.iter().any(|flag| flag.to_string_lossy().starts_with(PER_DEVICE))
        || values.keys().any(|key| key.replace('_', "-") == PER_DEVICE[2..]);
    ensure_usage(
        !is_given,
        format!("{PER_DEVICE}: give --batch-size, which counts the rows of all ranks"),
    )
}

/// Table in Markdown of the keys of other projects' settings files that `train` of `C` understands,
/// a row per section.
pub fn foreign_keys_table<C: CommandFactory>() -> String {
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    for (key, meaning) in foreign_keys::table(&subcommand::<C>(&["".into(), "train".into()])) {
        let (section, name) = key.split_once('.').unwrap_or(("none", key));
        if sections.last().is_none_or(|(last, _)| *last != section) {
            sections.push((section, Vec::new()));
        }
        sections
            .last_mut()
            .into_iter()
            .for_each(|(_, keys)| keys.push(format!("`{name}` {meaning}")));
    }
    let rows = sections.iter().map(|(name, keys)| format!("| {name} | {} |\n", keys.join("; ")));
    "| section | keys |\n| --- | --- |\n".to_string() + &rows.collect::<String>()
}

/// Name of the flag of the subcommand `train` of `C` that `name` means, as in settings files.
pub fn train_setting<C: CommandFactory>(name: &str) -> Option<String> {
    let command = subcommand::<C>(&["".into(), "train".into()]);
    Some(find_flag(&command, name)?.get_long()?.replace('-', "_"))
}
