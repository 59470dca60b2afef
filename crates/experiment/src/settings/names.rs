//! Names of a flag: its primary name, and the aliases that settings files and old runs may use.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clap::{Arg, Command};
use serde_json::Value;

/// Settings by key, `n_layer` for `--n-layer`.
pub(super) type Settings = BTreeMap<String, Value>;

/// Names of a flag without the dashes, the primary one first.
fn names(arg: &Arg) -> impl Iterator<Item = &str> {
    arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten())
}

/// Flag of `command` that has `key` (`n_layer` for `--n-layer`) as one of its names.
pub(super) fn find_flag<'c>(command: &'c Command, key: &str) -> Option<&'c Arg> {
    let name = key.replace('_', "-");
    command.get_arguments().find(|arg| names(arg).any(|other| other == name))
}

/// All spellings of the flag `name`: `--out` and `--output-dir` for `out`.
pub(super) fn spellings(command: &Command, name: &str) -> Vec<String> {
    let flag = find_flag(command, name);
    let all = flag.map(|arg| names(arg).map(|name| format!("--{name}")).collect());
    all.unwrap_or_else(|| vec![format!("--{name}")])
}

/// `settings` under the primary name of each flag of `command` and of each of its listed values,
/// whichever alias a file uses. Unknown keys stay: clap names them in its error.
///
/// # Errors
/// When two keys name the same flag.
pub(super) fn canonical(settings: Settings, command: &Command) -> Result<Settings> {
    let mut renamed = Settings::new();
    for (key, value) in settings {
        let flag = find_flag(command, &key);
        let name = flag.and_then(Arg::get_long).map_or(key.clone(), |long| long.replace('-', "_"));
        let value = match (flag, value) {
            (Some(flag), Value::String(text)) => {
                let listed = flag.get_possible_values();
                let value = listed.iter().find(|value| value.matches(&text, false));
                value.map_or(text.clone(), |value| value.get_name().to_string()).into()
            }
            (_, value) => value,
        };
        let clash = renamed.insert(name.clone(), value).is_some();
        ensure!(!clash, "`{key}` and another key both mean `{name}`: keep one");
    }
    Ok(renamed)
}
