//! Help with an exercise: its hints, its solution, its file as it was at first.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::screen;
use super::state::{Standing, State};
use super::work;
use crate::entry::{Entry, Task};
use crate::source::solution;

/// Shows one more hint of `entry`, and makes the learner's file if there is none.
///
/// # Errors
/// When the state or the file cannot be written.
pub fn hint(entry: &Entry) -> Result<()> {
    let n_hints = entry.head().hints.len();
    let shown = State::update(|state| {
        let progress = state.of_mut(entry);
        progress.hints = (progress.hints + 1).min(n_hints);
        progress.hints
    })?;
    if entry.is_code() {
        work::start(entry)?;
    }
    for text in hint_texts(entry, shown) {
        screen::say(&text);
    }
    if shown == n_hints && !State::read()?.is_solved(entry) {
        println!("`cargo x learn solution {} --give-up` shows the solution.", entry.name);
    }
    Ok(())
}

/// Texts that come with the first `shown` hints of `entry`: the hints, with the last of them the
/// course's code, and the learner's file.
pub fn hint_texts(entry: &Entry, shown: usize) -> Vec<String> {
    let head = entry.head();
    let n_hints = head.hints.len();
    let hints = head.hints.iter().take(shown).enumerate();
    let mut texts: Vec<String> =
        hints.map(|(i, hint)| format!("Hint {} of {n_hints}: {hint}", i + 1)).collect();
    if shown >= n_hints {
        let places = head.code().filter_map(|place| place.locate(&work::root()));
        texts.extend(places.map(|place| format!("Read {place}")));
    }
    if entry.is_code() {
        texts.push(format!("Your file: {}", work::shown(entry)));
    }
    texts
}

/// Makes the learner's file of `entry` as it was at first; the present one is kept beside it.
///
/// # Errors
/// When the files cannot be written.
pub fn reset(entry: &Entry) -> Result<()> {
    ensure!(entry.is_code(), "{} has no file", entry.name);
    let path = work::file(entry);
    if path.exists() {
        let kept = path.with_extension("before-reset.rs");
        fs::rename(&path, &kept).with_context(|| format!("renaming {}", path.display()))?;
        println!("The file as it was is {}", kept.file_name().unwrap_or_default().display());
    }
    work::start(entry)?;
    State::update(|state| {
        let progress = state.of_mut(entry);
        progress.standing = progress.standing.reopened();
    })
}

/// Shows the solution of `entry` and the places to read, if it is solved or `give_up` says so.
///
/// # Errors
/// When it is not solved and not given up.
pub fn show_solution(entry: &Entry, give_up: bool) -> Result<()> {
    let solved = State::read()?.is_solved(entry);
    ensure!(
        solved || give_up,
        "{} is not solved; `--give-up` shows the solution nevertheless, and notes it",
        entry.name
    );
    if !solved {
        State::update(|state| {
            let progress = state.of_mut(entry);
            progress.standing = Standing::GivenUp;
        })?;
    }
    match entry.task {
        Task::Code { .. } => print!("{}", solution(entry.source)),
        Task::Predict(questions) => {
            for question in questions() {
                let answer = question.right_answer();
                screen::say(&question.text());
                screen::say(&format!("{answer}: {}", question.judge(&answer).unwrap_or_default()));
            }
        }
        Task::Measure(measure) => {
            for line in measure.judge(&(measure.right)()).lines {
                screen::say(&line);
            }
        }
    }
    for place in entry.places() {
        println!("Read {place}");
    }
    if !solved {
        println!("Now write it yourself, and say in a sentence why each line is there.");
    }
    Ok(())
}
