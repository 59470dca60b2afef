//! Entry point of a part's program: parses the arguments and prints an error as one line.
//!
//! Exit code 0 means success, 2 a usage error (caused by the arguments alone), 1 any other error.

use std::env::{ArgsOs, args_os};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{panic, thread};

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;
use ranks::Ranks;
use tensor_core::output::{Stdout, Stream};
use tensor_core::threads::UNTRUSTED_CALL;

use crate::command_line::parse_args;
use crate::interrupt::survive_file_size_limit;
use crate::output_error::{exit_code_of_success, handle_output_errors, on_output_error};
use crate::rank_folder;
use crate::terminal::printable;
pub use crate::usage_error::{UsageError, as_usage_error, ensure_usage};

/// Length at which a cause of an error is cut: some repeat a value or a name of a file.
const MAX_CAUSE_CHARS: usize = 2000;
/// Time that the other ranks leave the first for its message about an error that all have.
const ERROR_OF_FIRST_RANK: Duration = Duration::from_secs(1);

/// Runs a whole program: parses the command line into `A` and calls `main` with it.
pub fn parse_and_run<A: Parser>(main: impl FnOnce(A) -> Result<()>) -> ExitCode {
    run(|args| main(parse_args(args)?))
}

/// Runs a whole program, whose `command` gets the command line, and prints its error as one line.
/// Process-wide setup is done here, since a command may share its process with other commands.
pub fn run(command: impl FnOnce(ArgsOs) -> Result<()>) -> ExitCode {
    handle_output_errors();
    silence_untrusted_calls();
    survive_file_size_limit();
    let result = Ranks::of_process().and_then(|ranks| {
        ensure_usage(
            !ranks.are_several() || args_os().nth(1).is_some_and(|command| command == "train"),
            "several ranks can only train: start this command without mpirun",
        )?;
        command(args_os())
    });
    let exit_code = match result {
        Ok(()) => exit_code_of_success(),
        Err(error) => {
            rank_folder::remove();
            if Ranks::of_process().is_ok_and(|ranks| !ranks.is_first()) {
                thread::sleep(ERROR_OF_FIRST_RANK); // which ends all, with its own message
            }
            print_error(&error)
        }
    };
    rank_folder::remove();
    match exit_code {
        0 => Ranks::finish_process(),
        _ => Ranks::abort_all(exit_code),
    }
    ExitCode::from(exit_code)
}

fn print_error(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref() {
        return print_clap_error(error);
    }
    eprintln!("error: {}", printable(&one_line(error)));
    if error.is::<UsageError>() { 2 } else { 1 }
}

/// Path or other argument in the form a shell accepts, quoted where necessary.
pub fn shell_quote(argument: impl AsRef<Path>) -> String {
    let text = argument.as_ref().display().to_string();
    match text.chars().all(|c| c.is_alphanumeric() || "/._-+:@%,=".contains(c)) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Error and its causes on one line: the first line of each, since candle can append a backtrace,
/// up to [`MAX_CAUSE_CHARS`].
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let line = text.lines().next().unwrap_or_default();
        if causes.last().is_none_or(|last| !last.ends_with(line)) {
            causes.push(line.to_string());
        }
    }
    for cause in &mut causes {
        if let Some((cut, _)) = cause.char_indices().nth(MAX_CAUSE_CHARS) {
            cause.truncate(cut);
            cause.push('…');
        }
    }
    causes.join(": ")
}

/// Prints clap's message on one line, and help and version as clap formats them.
fn print_clap_error(error: &clap::Error) -> u8 {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let printed = error.print().and_then(|()| Stdout.flush());
        if let (Err(error), false) = (printed, error.use_stderr()) {
            on_output_error(Stream::Stdout, &error); // which ends the program
        }
        return error.exit_code() as u8;
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let message: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    eprintln!("{} (see --help)", printable(&message.join(" ")));
    2
}

/// Keeps a panic from being printed that the program turns into an error of its own.
fn silence_untrusted_calls() {
    let default_hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(UNTRUSTED_CALL) {
            default_hook(panic);
        }
    }));
}
