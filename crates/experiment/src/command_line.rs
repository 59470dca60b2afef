//! Command lines of the parts, whose flags may also stand in a settings file.

use std::any::TypeId;
use std::ffi::OsString;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Parser};

use crate::settings::{expand_config, foreign_keys, inherit_from_run};

/// Parses the command line `args` of a part, the program's name first, with the settings of files,
/// of `--set` and of the run that is resumed. The subcommands `eval` and `sample` take the settings
/// `keys` from the run that the model `--model` belongs to.
///
/// # Errors
/// Those of [`expand_config`], or clap's for invalid arguments and for `--help`.
pub fn parse<A: Parser>(
    args: impl IntoIterator<Item = impl Into<OsString>>,
    keys: &[&str],
) -> Result<A> {
    let mut args = expand_config::<A>(args)?;
    let reads_run = args.get(1).is_some_and(|command| command == "eval" || command == "sample");
    if reads_run && !keys.is_empty() {
        args = inherit_from_run::<A>(args, keys)?;
    }
    parse_args(args)
}

/// Parses `args`. `-1` after a flag of an f64 is its value, and not a flag itself: the parser of
/// the value can then say what is wrong with it.
///
/// # Errors
/// Clap's, for invalid arguments and for `--help`.
pub(crate) fn parse_args<A: Parser>(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<A> {
    let mut command = list_foreign_keys(accept_negative_numbers(A::command()));
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    if command.has_subcommands() && args.get(1).is_some_and(|name| name == "help") {
        args.retain(|arg| arg != "--help" && arg != "-h"); // for clap, names of subcommands
    }
    let matches = command
        .try_get_matches_from_mut(args)
        .map_err(|error| without_hidden_suggestion(error, &command))?;
    Ok(A::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?)
}

/// `error` of clap's about the flags of `command`, without the suggestion of a hidden flag.
fn without_hidden_suggestion(mut error: clap::Error, command: &Command) -> clap::Error {
    if let Some(ContextValue::String(suggested)) = error.get(ContextKind::SuggestedArg)
        && is_hidden_flag(command, suggested)
    {
        error.remove(ContextKind::SuggestedArg);
    }
    error
}

/// True if `name` is a hidden flag of `command` or of a subcommand, or a flag's hidden alias.
fn is_hidden_flag(command: &Command, name: &str) -> bool {
    let long = name.trim_start_matches("--");
    let is_hidden = |arg: &Arg| {
        let aliases = arg.get_visible_aliases().unwrap_or_default();
        let is_visible = arg.get_long() == Some(long) || aliases.contains(&long);
        let is_name = is_visible || arg.get_all_aliases().unwrap_or_default().contains(&long);
        is_name && (arg.is_hide_set() || !is_visible)
    };
    command.get_arguments().any(is_hidden)
        || command.get_subcommands().any(|subcommand| is_hidden_flag(subcommand, name))
}

/// `command` whose subcommands with settings files list, in their long help, the keys of other
/// projects that they understand.
fn list_foreign_keys(command: Command) -> Command {
    command.mut_subcommands(|subcommand| {
        if !subcommand.get_arguments().any(|arg| arg.get_id() == "config") {
            return subcommand;
        }
        let keys = foreign_keys::table(&subcommand);
        let keys = keys.iter().map(|(key, meaning)| format!("\n  {key:<36}{meaning}"));
        let text = "Keys of the PPO tutorial and of the arithmetic GRPO project in settings files:";
        subcommand.after_long_help(text.to_string() + &keys.collect::<String>())
    })
}

fn accept_negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_f64 = arg.get_value_parser().type_id() == TypeId::of::<f64>();
        arg.allow_negative_numbers(is_f64)
    });
    command.mut_subcommands(accept_negative_numbers)
}
