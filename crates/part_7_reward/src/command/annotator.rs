//! A person at the terminal, who is shown two responses and says which is better.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use modern::ChatMessage;
use tiny_gpt::Interrupt;

use crate::annotation_file::Label;

/// Lines that are typed, read by a thread of their own, so that waiting for one can be ended. The thread outlives the command, so a
/// process has one.
static LINES: LazyLock<Mutex<Receiver<String>>> = LazyLock::new(|| {
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

/// How long what was typed before a question takes to arrive.
const TYPED_AHEAD: Duration = Duration::from_millis(30);

/// Shows a pair and waits for 1, 2 or s (neither). Nothing where that is enough: q, the input's end, or Ctrl-C.
pub(super) fn ask_for_label(
    title: &str,
    prompt: &[ChatMessage],
    pair: [&str; 2],
    interrupt: &Interrupt,
) -> Result<Option<Label>> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    // What a person typed before this pair was shown is about no pair; a script knows what it answers.
    while stdin().is_terminal() && lines.recv_timeout(TYPED_AHEAD).is_ok() {}
    println!("\n{title}");
    for ChatMessage { role, content } in prompt {
        println!("{role}: {}", escape_control_chars(content));
    }
    println!("  1  {}\n  2  {}", escape_control_chars(pair[0]), escape_control_chars(pair[1]));
    loop {
        print!("better: 1 or 2, s to skip, q to end > ");
        stdout().flush().context("writing to the terminal")?;
        let answer = loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if !interrupt.is_requested() => {}
                Err(_) => {
                    println!();
                    return Ok(None);
                }
            }
        };
        match answer.trim() {
            "1" => return Ok(Some(Label::Preferred(0))),
            "2" => return Ok(Some(Label::Preferred(1))),
            "s" => return Ok(Some(Label::NoPreference)),
            "q" => return Ok(None),
            _ => {}
        }
    }
}

/// A text in which nothing but ends of lines and tabs steers the terminal, whatever a model wrote.
fn escape_control_chars(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}
