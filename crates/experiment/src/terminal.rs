//! Text at the terminal that comes from elsewhere, and questions to a person.

use std::io::{BufRead, IsTerminal, Write, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tensor_core::output::Stdout;

use crate::Interrupt;

/// `text` with its control characters, apart from line ends and tabs, replaced by `�`. Generated
/// text, data rows, names in files and paths could otherwise control the terminal: clear it, or
/// write over what was printed.
pub fn printable(text: &str) -> String {
    let replace = |c: char| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c };
    text.replace("\r\n", "\n").chars().map(replace).collect()
}

/// Lines of standard input, read by a separate thread so that Ctrl-C can interrupt the wait for a
/// line. The thread outlives the command, so there is one per process.
static INPUT_LINES: LazyLock<Mutex<Receiver<String>>> = LazyLock::new(|| {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(|line| line.ok()) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    Mutex::new(receive)
});

/// Time for lines typed before the question to arrive, so that they can be discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(30);

/// Shows `text`, then asks `question` until a line is one of `answers`, and returns its index;
/// `None` at the end of the input, or on Ctrl-C. The text is made [`printable`].
///
/// # Errors
/// When the terminal cannot be written.
pub fn ask(
    text: &str,
    question: &str,
    answers: &[&str],
    interrupt: &Interrupt,
) -> Result<Option<usize>> {
    let lines = INPUT_LINES.lock().unwrap_or_else(PoisonError::into_inner);
    // A person cannot have meant this question by lines typed before it was asked; a script can.
    while stdin().is_terminal() && lines.recv_timeout(DISCARD_TIMEOUT).is_ok() {}
    println!("{}", printable(text));
    loop {
        print!("{question} > ");
        Stdout.flush().context("writing to the terminal")?;
        let line = loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if !interrupt.is_requested() => {}
                Err(_) => {
                    println!();
                    return Ok(None);
                }
            }
        };
        if let Some(index) = answers.iter().position(|answer| *answer == line.trim()) {
            return Ok(Some(index));
        }
    }
}
