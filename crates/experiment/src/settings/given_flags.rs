//! Flags that a command line gives: `KEY=VALUE` arguments, and the values of a flag under any of
//! its names.

use std::ffi::OsString;

use clap::{Command, CommandFactory};
use serde_json::Value;

use super::names::{find_flag, spellings};

/// Flag with dashes, if it has underscores: `--max_steps=3` means `--max-steps=3`.
pub(super) fn with_dashes(arg: OsString) -> OsString {
    match arg.to_str().and_then(|text| text.strip_prefix("--")) {
        Some(flag) => {
            let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
            format!("--{}{value}", name.replace('_', "-")).into()
        }
        None => arg,
    }
}

/// Command that the second of `args` selects, or `C` itself.
pub(super) fn subcommand<C: CommandFactory>(args: &[OsString]) -> Command {
    let command = C::command();
    let name = args.get(1).map(|name| name.to_string_lossy().into_owned());
    name.and_then(|name| command.find_subcommand(name).cloned()).unwrap_or(command)
}

/// Value of the flag `name` of `command` among `flags`; `true` for one without a value.
pub(super) fn given_value(flags: &[OsString], name: &str, command: &Command) -> Option<Value> {
    let spellings = spellings(command, name);
    if find_flag(command, name)?.get_action().takes_values() {
        return Some(flag_values(flags, &spellings).pop()?.to_string_lossy().into());
    }
    let is_given = flags.iter().any(|flag| spellings.iter().any(|name| flag == name.as_str()));
    is_given.then_some(true.into())
}

/// Values that follow a flag under any of its `spellings`, in order.
pub(super) fn flag_values(flags: &[OsString], spellings: &[String]) -> Vec<OsString> {
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

/// Removes the `KEY=VALUE` arguments from `flags` and returns them with those of `--set`, in order.
/// What follows a flag that takes a value is that value.
pub(super) fn take_pairs(flags: &mut Vec<OsString>, command: &Command) -> Vec<OsString> {
    let takes_value = |flag: &OsString| {
        let name = flag.to_str().and_then(|text| text.strip_prefix("--"));
        let flag = name.and_then(|name| find_flag(command, name));
        flag.is_some_and(|flag| flag.get_action().takes_values())
    };
    let is_pair = |flag: &OsString| {
        let key = flag.to_str().and_then(|text| text.split_once('=')).map_or("", |(key, _)| key);
        key.starts_with(char::is_alphabetic)
            && key.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c))
    };
    if find_flag(command, "set").is_none() {
        return Vec::new();
    }
    let (mut pairs, mut is_value, mut is_set) = (Vec::new(), false, false);
    flags.retain(|flag| {
        let of_set = flag.to_str().and_then(|text| text.strip_prefix("--set=")).map(OsString::from);
        let is_setting = !is_value && is_pair(flag);
        pairs.extend(of_set.or_else(|| (is_set || is_setting).then(|| flag.clone())));
        is_set = !is_value && flag == "--set";
        is_value = !is_value && takes_value(flag);
        !is_setting
    });
    pairs
}
