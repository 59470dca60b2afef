//! Command lines of the parts, whose flags may also stand in a settings file.

use std::any::TypeId;
use std::ffi::OsString;

use anyhow::Result;
use clap::{Command, Parser};

use crate::settings::{expand_config, inherit_from_run};

/// Parses the command line `args` of a part, the program's name first, with the settings of files,
/// of `--set` and of the run that is resumed. The subcommands `eval` and `sample` take the settings
/// `keys` from the run that `--model` names.
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
    let mut command = accept_negative_numbers(A::command());
    let matches = command.try_get_matches_from_mut(args)?;
    Ok(A::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?)
}

fn accept_negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_f64 = arg.get_value_parser().type_id() == TypeId::of::<f64>();
        arg.allow_negative_numbers(is_f64)
    });
    command.mut_subcommands(accept_negative_numbers)
}
