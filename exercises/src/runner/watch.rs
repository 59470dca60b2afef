//! The default command: shows the next exercise, gives a verdict on each save, and goes on.

use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::screen::{self, Ink, ink};
use super::state::State;
use super::work;
use super::{commands, help};
use crate::entry::{Entry, Task};
use crate::grading::Prediction;

/// Time between two looks at the learner's file.
const INTERVAL: Duration = Duration::from_millis(100);

/// Answers and keys of the asking runner.
const ANSWERS: &str = "a number (0.1875, 3/16, 18.75%) or a letter; h hint, l list, q quit";

/// Keys of the watching runner.
const KEYS: &str = "h hint, l list, r reset, q quit; then Enter";

/// Watches from the exercise `first` on, or from the next one, until all is solved or the learner
/// ends it.
///
/// # Errors
/// When another runner watches, or the work folder cannot be used.
pub fn run(mut first: Option<&'static Entry>) -> Result<()> {
    let _lock = work::lock()?;
    let lines = input_lines();
    while let Some(entry) = first.take().or(State::read()?.next()) {
        println!();
        screen::head(entry);
        let goes_on = match entry.task {
            Task::Code { .. } => watch_file(entry, &lines)?,
            Task::Predict(questions) => ask(entry, &questions(), &lines)?,
            Task::Measure(measure) => {
                println!("\nThen, beside this: {}", commands::measure_line(entry, measure));
                wait_until_solved(entry, &lines)?
            }
        };
        if !goes_on {
            return Ok(());
        }
    }
    println!("{}", ink("All exercises are solved.", Ink::Green));
    Ok(())
}

/// Without a terminal: a line for each exercise. The next one is graded.
///
/// # Errors
/// When another runner is grading.
pub fn print_once() -> Result<bool> {
    let _lock = work::lock()?;
    while let Some(entry) = State::read()?.next().filter(|entry| entry.is_code()) {
        if !work::file(entry).exists() || !commands::check(entry)?.is_right() {
            break;
        }
    }
    let state = State::read()?;
    screen::list(&state);
    Ok(state.next().is_none())
}

fn input_lines() -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

fn modified(entry: &Entry) -> Option<SystemTime> {
    fs::metadata(work::file(entry)).and_then(|metadata| metadata.modified()).ok()
}

/// Grades the file of `entry` at each save until it is right; false if the learner ends it.
fn watch_file(entry: &Entry, lines: &Receiver<String>) -> Result<bool> {
    work::start(entry)?;
    let mut graded = None;
    loop {
        let saved = modified(entry);
        if saved.is_some() && saved != graded {
            graded = saved;
            let verdict = commands::check(entry)?;
            println!();
            screen::verdict(entry, &verdict);
            if verdict.is_right() {
                return Ok(true);
            }
            println!("{}", ink(KEYS, Ink::Dim));
        }
        match lines.recv_timeout(INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Ok(line) => match line.trim() {
                "r" => help::reset(entry)?,
                "q" => return Ok(false),
                key => other_key(key, entry)?,
            },
        }
    }
}

fn other_key(key: &str, entry: &Entry) -> Result<()> {
    match key {
        "h" => help::hint(entry),
        "l" => {
            screen::list(&State::read()?);
            Ok(())
        }
        _ => {
            println!("{KEYS}");
            Ok(())
        }
    }
}

/// Asks the questions of `entry` until all are answered; false if the learner ends it.
pub fn ask(entry: &Entry, questions: &[Prediction], lines: &Receiver<String>) -> Result<bool> {
    let mut answers = Vec::new();
    println!("\n{}", ink(ANSWERS, Ink::Dim));
    for question in questions {
        println!();
        screen::say(&question.text());
        let answer = loop {
            print!("> ");
            stdout().flush()?;
            let Ok(line) = lines.recv() else { return Ok(false) };
            match line.trim() {
                "q" => return Ok(false),
                "" => println!("{ANSWERS}"),
                key @ ("h" | "l") => other_key(key, entry)?,
                typed => match question.judge(typed) {
                    Ok(because) => {
                        screen::say(&format!("{} {because}", ink("✓", Ink::Green)));
                        break typed.to_string();
                    }
                    Err(says) => screen::say(&format!("{} {says}", ink("✗", Ink::Red))),
                },
            }
        };
        answers.push(answer);
    }
    commands::predict(entry, &answers)?;
    Ok(true)
}

/// Asks the questions of `entry` at the terminal.
///
/// # Errors
/// When the state cannot be written.
pub fn ask_at_terminal(entry: &Entry, questions: &[Prediction]) -> Result<bool> {
    screen::head(entry);
    ask(entry, questions, &input_lines())
}

/// Waits until another command has solved `entry`; false if the learner ends it.
fn wait_until_solved(entry: &Entry, lines: &Receiver<String>) -> Result<bool> {
    loop {
        if State::read()?.is_solved(entry) {
            return Ok(true);
        }
        match lines.recv_timeout(INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Ok(line) if line.trim() == "q" => return Ok(false),
            Ok(line) => other_key(line.trim(), entry)?,
        }
    }
}
