//! Output of a program on stdout and stderr, which cannot panic.
//!
//! Rust's `println!` panics when stdout cannot be written: the terminal is closed, its reader has
//! ended (`| head`), the disk is full. The macros here have the same names and take its place in
//! every crate with `#[macro_use] extern crate tensor_core`. The program says what an error means:
//! see [`set_on_error`].

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::OnceLock;

/// Stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: results, and the lines of a run.
    Stdout,
    /// Standard error: progress, warnings and errors.
    Stderr,
}

/// Called when a stream cannot be written. If it returns, the text is lost and the program
/// continues.
pub type OnError = fn(Stream, &io::Error);

static ON_ERROR: OnceLock<OnError> = OnceLock::new();

/// Calls `on_error` for each error of stdout and stderr from now on; a process has one such
/// function, the first. Without one, which is how libraries and tests run, text is printed by
/// Rust's own macros, whose output a test harness captures.
pub fn set_on_error(on_error: OnError) {
    let _ = ON_ERROR.set(on_error);
}

/// Writes `text` to `stream`, a line in one piece.
pub fn write(stream: Stream, text: Arguments<'_>) {
    let text = text.to_string();
    let Some(on_error) = ON_ERROR.get() else {
        return match stream {
            Stream::Stdout => std::print!("{text}"),
            Stream::Stderr => std::eprint!("{text}"),
        };
    };
    let written = match stream {
        Stream::Stdout => io::stdout().write_all(text.as_bytes()),
        Stream::Stderr => io::stderr().write_all(text.as_bytes()),
    };
    if let Err(error) = written {
        on_error(stream, &error);
    }
}

/// Standard output as a writer, for text that is streamed. Errors go to the program's function,
/// and are returned if it has none.
#[derive(Debug, Clone, Copy)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        handled(io::stdout().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        handled(io::stdout().flush())
    }
}

fn handled(written: io::Result<()>) -> io::Result<()> {
    match (written, ON_ERROR.get()) {
        (Err(error), Some(on_error)) => {
            on_error(Stream::Stdout, &error);
            Ok(())
        }
        (written, _) => written,
    }
}

/// Prints text to stdout as Rust's macro of this name does, but without a panic.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => {
        $crate::output::write(
            $crate::output::Stream::Stdout,
            ::std::format_args!($($text)*),
        )
    };
}

/// Prints a line to stdout as Rust's macro of this name does, but without a panic.
#[macro_export]
macro_rules! println {
    () => {
        $crate::print!("\n")
    };
    ($($text:tt)*) => {
        $crate::print!("{}\n", ::std::format_args!($($text)*))
    };
}

/// Prints text to stderr as Rust's macro of this name does, but without a panic.
#[macro_export]
macro_rules! eprint {
    ($($text:tt)*) => {
        $crate::output::write(
            $crate::output::Stream::Stderr,
            ::std::format_args!($($text)*),
        )
    };
}

/// Prints a line to stderr as Rust's macro of this name does, but without a panic.
#[macro_export]
macro_rules! eprintln {
    () => {
        $crate::eprint!("\n")
    };
    ($($text:tt)*) => {
        $crate::eprint!("{}\n", ::std::format_args!($($text)*))
    };
}
