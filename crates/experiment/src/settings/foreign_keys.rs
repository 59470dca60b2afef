//! Keys of the settings files of other projects, and what they mean here.
//!
//! The PPO tutorial has sections: `ppo.learning_rate` is the key `learning_rate` of the section
//! `ppo`. In a section that is listed here, every flag may stand under its own name, too.

mod keys;

use anyhow::{Result, bail, ensure};
use clap::{Arg, Command};
use keys::Meaning::{self, NoEffect, Only, SameAs, Setting, Switch};
use keys::{IMPLIED, KEYS};
use serde_json::{Map, Value};

use super::names::{COMMAND_LINE_ONLY, Settings, find_flag, visible_names};
use super::source::{Source, interpolated};

/// Characters of an unknown key that are compared with the known ones.
const MAX_COMPARED_CHARS: usize = 100;

/// Setting of `command` that the `key` of a file means, and its value; `None` if it sets nothing.
///
/// # Errors
/// When the command lacks what the key sets, or the value is not possible.
pub(super) fn translate(
    key: String,
    value: Value,
    command: &Command,
) -> Result<Option<(String, Value)>> {
    if find_flag(command, &key).is_some() {
        return Ok(Some((key, value)));
    }
    let Some(meaning) = meaning_of(&key) else {
        let name = key.split_once('.').filter(|(section, _)| is_section(section));
        let flag = name.filter(|(_, name)| find_flag(command, name).is_some());
        let is_empty_section = is_section(&key) && value.is_null();
        let key = flag.map_or(key.clone(), |(_, name)| name.to_string());
        return Ok((!is_empty_section).then_some((key, value)));
    };
    Ok(match meaning {
        Setting(names) => match names.iter().find(|name| find_flag(command, name).is_some()) {
            Some(name) => Some((name.to_string(), value)),
            None if value.is_null() || value == false => None,
            None if names[0] == "dtype" && value == "float32" => None, // as all commands without it
            None => {
                let command = command.get_name();
                bail!("`{key}` means {}, which `{command}` does not have", flag_name(names[0]))
            }
        },
        Only(possible, because) => match value.is_null() || value == *possible {
            true => None,
            false => bail!("`{key}: {value}` is not possible: {because}; set it to {possible}"),
        },
        Switch(setting, on) if value == true => match find_flag(command, setting) {
            Some(_) => Some((setting.to_string(), (*on).into())),
            None => {
                let command = command.get_name();
                bail!("`{key}` means {}, which `{command}` does not have", flag_name(setting))
            }
        },
        Switch(..) => None,
        NoEffect(_) | SameAs(..) => None,
    })
}

/// Settings of `command` that follow from `values`, for those that no source sets. A value that is
/// overridden later, in `settings` or by a flag, implies nothing.
pub(super) fn implied(
    values: &Map<String, Value>,
    settings: &Settings,
    is_flag: impl Fn(&str) -> bool,
    command: &Command,
) -> Vec<(String, Value)> {
    let is_last_word = |key: &str, given: &Value| match meaning_of(key) {
        Some(Setting(names)) => {
            let name = names.iter().find(|name| find_flag(command, name).is_some());
            name.is_some_and(|name| settings.get(*name) == Some(given) && !is_flag(name))
        }
        _ => true,
    };
    let rows = IMPLIED.iter().filter(|(key, value, flag, ..)| {
        let is_given = values.get(*key).is_some_and(|given| {
            !given.is_null() && value.is_none_or(|v| given == v && is_last_word(key, given))
        });
        is_given && find_flag(command, flag).is_some()
    });
    rows.map(|&(.., setting, value)| (setting.to_string(), value.into())).collect()
}

fn meaning_of(key: &str) -> Option<&'static Meaning> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, meaning)| meaning)
}

/// Flag of `command` that the `key` of a file sets.
pub(super) fn flag_of<'c>(key: &str, command: &'c Command) -> Option<&'c Arg> {
    let of_section = || {
        let (section, name) = key.split_once('.')?;
        is_section(section).then(|| find_flag(command, name))?
    };
    find_flag(command, key).or_else(|| match meaning_of(key) {
        Some(Setting(names)) => names.iter().find_map(|name| find_flag(command, name)),
        Some(_) => None,
        None => of_section(),
    })
}

/// Checks the keys of `sources` that must have the value of another key. `value_of` a key is what
/// `${key}` stands for.
///
/// # Errors
/// Names the two keys.
pub(super) fn check_copies(
    sources: &[Source],
    value_of: &dyn Fn(&str) -> Option<Value>,
) -> Result<()> {
    for (key, meaning) in &KEYS {
        let SameAs(other, because) = meaning else { continue };
        let value = |key: &str| {
            let last = sources.iter().rev().find_map(|source| source.values.get(key));
            interpolated(last.unwrap_or(&Value::Null), value_of, &[key])
        };
        let (own, other_value) = (value(key)?, value(other)?);
        let is_copy = own == other_value || value_of(other).as_ref() == Some(&own);
        ensure!(
            own.is_null() || is_copy,
            "`{key}: {own}` must be the value of `{other}`: {because}"
        );
    }
    Ok(())
}

/// Name nearest to the unknown `key`, among those of the flags of `command` that a file may hold
/// and, in a section, among its keys.
pub(super) fn nearest(key: &str, command: &Command) -> String {
    let in_a_file = visible_names(command).filter(|name| !COMMAND_LINE_ONLY.contains(name));
    let flags = in_a_file.map(|name| name.replace('-', "_"));
    let keys = KEYS.iter().map(|(known, _)| (*known).to_string());
    let names: Vec<String> = match key.split_once('.') {
        Some((section, _)) if is_section(section) => {
            keys.chain(flags.map(|name| format!("{section}.{name}"))).collect()
        }
        Some(_) => keys.collect(),
        None => flags.chain(keys.filter(|known| !known.contains('.'))).collect(),
    };
    // The memory of a distance grows with the length of the key.
    let start: String = key.chars().take(MAX_COMPARED_CHARS).collect();
    let distance = |name: &String| strsim::damerau_levenshtein(&start, name);
    names.into_iter().min_by_key(distance).unwrap_or_default()
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|(key, _)| key.split_once('.').is_some_and(|(section, _)| section == name))
}

/// Each key that `command` understands, and its meaning in words.
pub(crate) fn table(command: &Command) -> Vec<(&'static str, String)> {
    let rows = KEYS.iter().filter_map(|(key, meaning)| {
        let meaning = match meaning {
            Setting(names) => {
                let flag = names.iter().find_map(|name| find_flag(command, name))?;
                format!("--{}", flag.get_long()?)
            }
            NoEffect(because) => format!("no effect, because {because}"),
            Only(value, because) => format!("only {value}, because {because}"),
            Switch(setting, value) => {
                find_flag(command, setting)?;
                format!("if true, {} {value}", flag_name(setting))
            }
            SameAs(other, because) => format!("that of {other}, because {because}"),
        };
        let implied = IMPLIED
            .iter()
            .find(|(implying, _, flag, ..)| implying == key && find_flag(command, flag).is_some());
        let implied = implied.map(|&(_, value, _, setting, is)| {
            let given = value.map_or(String::new(), |value| format!(" if it is {value}"));
            format!(", and {} {is}{given}", flag_name(setting))
        });
        Some((*key, meaning + &implied.unwrap_or_default()))
    });
    rows.collect()
}

fn flag_name(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}
