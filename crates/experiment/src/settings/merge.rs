//! Settings of several sources together, of which later ones win.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, Command};
use serde_json::Value;

use super::foreign_keys;
use super::names::{COMMAND_LINE_ONLY, Settings, find_flag};
use super::source::{SPLIT_RULE, Source, interpolated};
use crate::usage_error::as_usage_error;

/// Flags that set the same quantity in two ways. One in a later source replaces the other in an
/// earlier one; both in one source are an error of clap's.
pub(super) const ALTERNATIVES: [[&str; 2]; 3] =
    [["steps", "epochs"], ["warmup_steps", "warmup_ratio"], ["num_minibatches", "mini_batch_size"]];

/// A setting and its namesake of transformers, whose defaults differ. The later one of two sources
/// wins; `config.json` has the first in any case, and the second if it was given.
const NAMESAKES: [[&str; 2]; 1] = [["lr_scheduler", "lr_scheduler_type"]];

/// Adds the settings of a `later` source to those of earlier ones, which they replace.
pub(super) fn override_settings(earlier: &mut Settings, later: Settings) {
    let is_set = |key: &str| later.get(key).is_some_and(|value| !value.is_null());
    remove_alternatives(earlier, is_set);
    earlier.extend(later);
}

/// Removes each of `settings` whose alternative is set later.
pub(super) fn remove_alternatives(settings: &mut Settings, is_set_later: impl Fn(&str) -> bool) {
    for [a, b] in ALTERNATIVES.into_iter().chain(NAMESAKES) {
        for (earlier, later) in [(a, b), (b, a)] {
            if is_set_later(later) {
                settings.remove(earlier);
            }
        }
    }
}

/// Settings of `sources`, of which later ones win, by the flags of `command`. `value_of` a key is
/// what `${key}` stands for.
pub(super) fn merge(
    sources: &[Source],
    value_of: &dyn Fn(&str) -> Option<Value>,
    command: &Command,
) -> Result<Settings> {
    foreign_keys::check_copies(sources, value_of)?;
    let mut settings = Settings::new();
    for (i, source) in sources.iter().enumerate() {
        let own = read_source(source, &sources[i + 1..], value_of, command);
        let own = match source.is_pair {
            true => as_usage_error(own.map_err(|error| format!("{error:#}")))?,
            false => own.with_context(|| source.name.clone())?,
        };
        override_settings(&mut settings, own);
    }
    Ok(settings)
}

/// Settings of `source` that none of the `later` sources sets, by the flags of `command`.
fn read_source(
    source: &Source,
    later: &[Source],
    value_of: &dyn Fn(&str) -> Option<Value>,
    command: &Command,
) -> Result<Settings> {
    let mut own = Vec::new();
    for (key, value) in &source.values {
        if !later.iter().any(|later| later.values.contains_key(key)) {
            let value =
                interpolated(value, value_of, &[key]).with_context(|| format!("`{key}`"))?;
            own.push((key.clone(), value));
        }
    }
    let own = canonical(own, command)?;
    ensure_known(&own, command)?;
    settings_to_flags(&own)?;
    Ok(own)
}

/// Value of `${key}`: that of a flag on the command line, else of the last of `sources`, for the
/// setting that `key` means under any of its names, else the flag's default. `given` is the value
/// of a flag by its primary name.
pub(super) fn value_of(
    key: &str,
    sources: &[Source],
    given: impl Fn(&str) -> Option<Value>,
    command: &Command,
) -> Option<Value> {
    let flag = foreign_keys::flag_of(key, command);
    let is_same = |other: &str| {
        let other = foreign_keys::flag_of(other, command).map(Arg::get_id);
        other.is_some() && other == flag.map(Arg::get_id)
    };
    let in_source = |source: &Source| {
        let same = || source.values.iter().find(|(other, _)| is_same(other));
        source.values.get(key).or_else(|| Some(same()?.1)).cloned()
    };
    let name = flag.and_then(Arg::get_long);
    let set = name.and_then(given).or_else(|| sources.iter().rev().find_map(in_source));
    set.or_else(|| flag.map(default_value).filter(|value| !value.is_null()))
}

/// Value of a flag that is not given: `false`, its default, or null.
pub(super) fn default_value(flag: &Arg) -> Value {
    if !flag.get_action().takes_values() {
        return false.into();
    }
    let default = flag.get_default_values().first().map(|value| value.to_string_lossy());
    default.map_or(Value::Null, |text| {
        serde_json::from_str(&text).unwrap_or_else(|_| text.into_owned().into())
    })
}

/// Checks that `command` has each of the `settings`, and that a file may hold it.
fn ensure_known(settings: &Settings, command: &Command) -> Result<()> {
    for key in settings.keys() {
        ensure!(
            !COMMAND_LINE_ONLY.contains(&key.as_str()),
            "`{key}` is a flag of the command line alone"
        );
        ensure!(
            find_flag(command, key).is_some(),
            "`{key}` is not a setting of `{}`; the nearest is `{}`",
            command.get_name(),
            foreign_keys::nearest(key, command)
        );
    }
    Ok(())
}

/// Flags that say what `settings` say; `false` and `null` leave a flag out.
pub(super) fn settings_to_flags(settings: &Settings) -> Result<Vec<OsString>> {
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

/// `settings` under the primary name of each flag of `command` and of each of its listed values,
/// whichever alias or key of another project a file uses. Unknown keys stay, apart from
/// [`SPLIT_RULE`].
///
/// # Errors
/// When two keys give the same flag different values, and those of
/// [`translate`](foreign_keys::translate).
pub(super) fn canonical(
    settings: impl IntoIterator<Item = (String, Value)>,
    command: &Command,
) -> Result<Settings> {
    let (mut renamed, mut keys) = (Settings::new(), BTreeMap::new());
    for (key, value) in settings.into_iter().filter(|(key, _)| key != SPLIT_RULE) {
        let Some((name, value)) = foreign_keys::translate(key.clone(), value, command)? else {
            continue;
        };
        let flag = find_flag(command, &name);
        let name = flag.and_then(Arg::get_long).map_or(name.clone(), |long| long.replace('-', "_"));
        let value = match (flag, value) {
            (Some(flag), Value::String(text)) => {
                let listed = flag.get_possible_values();
                let value = listed.iter().find(|value| value.matches(&text, false));
                value.map_or(text.clone(), |value| value.get_name().to_string()).into()
            }
            (_, value) => value,
        };
        let other = renamed.insert(name.clone(), value);
        let is_same = other.is_none_or(|other| other == renamed[&name]);
        let other = keys.insert(name.clone(), key.clone()).unwrap_or_default();
        ensure!(is_same, "`{other}` and `{key}` both mean `{name}`: keep one");
    }
    Ok(renamed)
}
