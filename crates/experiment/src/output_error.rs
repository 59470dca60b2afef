//! What a program does when stdout or stderr cannot be written: the terminal is closed, the reader
//! of a pipe has ended, the disk is full.
//!
//! | | a run | other commands |
//! | --- | --- | --- |
//! | closed terminal | saves and stops, status 0 | end, as a rule by SIGHUP |
//! | pipe without a reader | saves and stops, status 1 | if it is stdout, end silently, status 0 |
//! | full disk | saves and stops, status 1 | if it is stdout, end with an error, status 1 |
//!
//! Progress and warnings on stderr are lost silently if there is no run: results do not depend on
//! them.

use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;

use ranks::Ranks;
use tensor_core::output::{self, Stdout, Stream};

use crate::interrupt::{self, RunPhase};
use crate::rank_folder;

/// True for stdout, and for stderr, if it was a terminal when the program started.
static TERMINALS: OnceLock<[bool; 2]> = OnceLock::new();
/// First error during a run; `None` inside if a signal or a closed terminal ended the run.
static ERROR_OF_RUN: OnceLock<Option<String>> = OnceLock::new();

/// Handles the errors of stdout and stderr from now on.
pub(crate) fn handle_output_errors() {
    let _ = TERMINALS.set([stdout().is_terminal(), stderr().is_terminal()]);
    output::set_on_error(on_output_error);
}

/// Exit code of a program whose command has succeeded, unless its output was lost.
pub(crate) fn exit_code_of_success() -> u8 {
    let _ = Stdout.flush(); // an error ends the program or is in ERROR_OF_RUN
    match ERROR_OF_RUN.get() {
        Some(Some(error)) => {
            print_error(error);
            1
        }
        Some(None) | None => 0,
    }
}

/// Stops a run, which then saves; ends any other program whose results are lost.
pub(crate) fn on_output_error(stream: Stream, error: &io::Error) {
    if ERROR_OF_RUN.get().is_some() {
        return; // the run ends, and the program after it
    }
    match (interrupt::run_phase(), stream) {
        (RunPhase::Running { signalled }, _) => {
            // A signal to all programs of a pipeline, such as Ctrl-C, also ends the reader.
            let cause = match signalled || was_terminal(stream) {
                true => None,
                false => Some(format!("{} before the end of the run", cause(stream, error))),
            };
            let _ = ERROR_OF_RUN.set(cause);
            interrupt::stop_runs();
        }
        (RunPhase::Preparing | RunPhase::None, Stream::Stderr) => {}
        (RunPhase::None, Stream::Stdout)
            if error.kind() == ErrorKind::BrokenPipe || was_terminal(stream) =>
        {
            exit(0)
        }
        (RunPhase::Preparing | RunPhase::None, Stream::Stdout) => {
            print_error(&cause(stream, error));
            exit(1)
        }
    }
}

fn was_terminal(stream: Stream) -> bool {
    let [stdout, stderr] = TERMINALS.get().copied().unwrap_or_default();
    match stream {
        Stream::Stdout => stdout,
        Stream::Stderr => stderr,
    }
}

fn cause(stream: Stream, error: &io::Error) -> String {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    match error.kind() {
        ErrorKind::BrokenPipe => format!("{name} was closed (broken pipe)"),
        _ => format!("writing {name}: {error}"),
    }
}

/// Prints an error if stderr can be written.
fn print_error(error: &str) {
    let _ = writeln!(stderr(), "error: {error}");
}

fn exit(code: u8) -> ! {
    rank_folder::remove();
    match code {
        0 => Ranks::finish_process(),
        _ => Ranks::abort_all(code),
    }
    std::process::exit(code.into())
}
