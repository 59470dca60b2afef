//! Entry point of a part's program: parses the arguments and prints an error as one readable line.
//!
//! Exit code 0 means done, 2 an error that the arguments alone decide, 1 any other.

use std::fmt;
use std::io::{Write, stderr};
use std::panic;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

use crate::interrupt::has_listener;

/// An error that the arguments alone decide: exit code 2.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Marks `result`'s error as one that the arguments alone decide.
pub fn as_usage_error<T, E: fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| UsageError(error.to_string()).into())
}

/// A whole program: parses the command line into `A` and runs `main` with it.
pub fn parse_and_run<A: Parser>(main: impl FnOnce(A) -> Result<()>) -> ExitCode {
    exit_code(|| main(A::try_parse()?))
}

/// A whole program: runs `main`, which parses its arguments itself, and tells an error in one line. What a command must not do to a
/// process that runs others as well is done here.
pub fn exit_code(main: impl FnOnce() -> Result<()>) -> ExitCode {
    exit_on_closed_stdout();
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => print_error(&error),
    }
}

fn print_error(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref() {
        return print_clap_error(error);
    }
    eprintln!("error: {}", one_line(error));
    ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
}

/// A path or another argument as a shell takes it, in quotes where it needs them.
pub fn shell_quote(argument: impl AsRef<Path>) -> String {
    let shown = argument.as_ref().display().to_string();
    match shown.chars().all(|c| c.is_alphanumeric() || "/._-+:@%,=".contains(c)) {
        true => shown,
        false => format!("'{}'", shown.replace('\'', r"'\''")),
    }
}

/// The error and its causes; of each the first line, since candle appends a backtrace where those are switched on.
fn one_line(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let line = text.lines().next().unwrap_or_default();
        if causes.last().is_none_or(|last| !last.ends_with(line)) {
            causes.push(line.to_string());
        }
    }
    causes.join(": ")
}

/// clap's message on one line; help and version as clap prints them.
fn print_clap_error(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let _ = error.print(); // nobody is left to tell if the terminal is gone
        return ExitCode::from(error.exit_code() as u8);
    }
    let text = error.render().to_string();
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> =
        said.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    eprintln!("{} (see --help)", said.join(" "));
    ExitCode::from(2)
}

/// Exits when stdout is closed: `println!` panics where the reader of our output went away. This is
/// not an error (`part_2 sample | head`), unless a run is in progress, which should have been
/// saved.
fn exit_on_closed_stdout() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>();
        if message.is_some_and(|text| text.contains("stdout") && text.contains("Broken pipe")) {
            if has_listener() {
                // Not `eprintln!`, which panics where nobody reads this either.
                let said = "error: nobody reads the output any more, so the program ended here";
                let _ = writeln!(stderr(), "{said}");
                std::process::exit(1);
            }
            std::process::exit(0);
        }
        tell(panic);
    }));
}

/// Whether the reader of our output went away, for output that is written without a panic.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
