//! Labels from a person at the terminal, who sees two completions and chooses the better one.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use experiment::Interrupt;
use model_io::ChatMessage;

use crate::annotation_file::Label;

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

/// Time for lines typed before the pair was shown to arrive, so that they can be discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(30);

/// Shows a pair and waits for 1, 2 or s (skip). Returns `None` on q, end of input, or Ctrl-C.
pub(super) fn ask_for_label(
    title: &str,
    prompt: &[ChatMessage],
    pair: [&str; 2],
    interrupt: &Interrupt,
) -> Result<Option<Label>> {
    let lines = INPUT_LINES.lock().unwrap_or_else(PoisonError::into_inner);
    // A person cannot have meant this pair by lines typed before it was shown; a script can.
    while stdin().is_terminal() && lines.recv_timeout(DISCARD_TIMEOUT).is_ok() {}
    println!("\n{title}");
    for ChatMessage { role, content } in prompt {
        println!("{role}: {}", escape_control_chars(content));
    }
    println!("  1  {}\n  2  {}", escape_control_chars(pair[0]), escape_control_chars(pair[1]));
    loop {
        print!("better: 1 or 2, s to skip, q to end > ");
        stdout().flush().context("writing to the terminal")?;
        let input = loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if !interrupt.is_requested() => {}
                Err(_) => {
                    println!();
                    return Ok(None);
                }
            }
        };
        match input.trim() {
            "1" => return Ok(Some(Label::Preferred(0))),
            "2" => return Ok(Some(Label::Preferred(1))),
            "s" => return Ok(Some(Label::NoPreference)),
            "q" => return Ok(None),
            _ => {}
        }
    }
}

/// Replaces control characters other than newlines and tabs, so that generated text cannot control
/// the terminal.
fn escape_control_chars(text: &str) -> String {
    let escape = |c: char| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c };
    text.replace("\r\n", "\n").chars().map(escape).collect()
}
