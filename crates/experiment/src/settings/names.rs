//! Names of a flag: its primary name, and the aliases that settings files and old runs may use.

use std::collections::BTreeMap;

use clap::{Arg, Command};
use serde_json::Value;

/// Settings by key, `n_layer` for `--n-layer`.
pub(super) type Settings = BTreeMap<String, Value>;

/// Flags that name sources of settings and cannot stand in one.
pub(super) const COMMAND_LINE_ONLY: [&str; 3] = ["config", "set", "resume"];

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

/// Names of the flags of `command` that `--help` shows.
pub(super) fn visible_names(command: &Command) -> impl Iterator<Item = &str> {
    let flags = command.get_arguments().filter(|arg| !arg.is_hide_set());
    flags.flat_map(|arg| {
        arg.get_long().into_iter().chain(arg.get_visible_aliases().into_iter().flatten())
    })
}
