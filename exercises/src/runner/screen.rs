//! What the runner prints: wrapped to the width of the terminal, coloured unless `NO_COLOR` is set
//! or the output goes elsewhere.

use std::io::{IsTerminal, stdout};

use super::state::{Standing, State};
use super::work;
use crate::course::PARTS;
use crate::entry::Entry;
use crate::grading::{GradeReport, Outcome};
use crate::source::ReadingPlace;

/// Widest lines of prose.
const MAX_WIDTH: usize = 80;
/// Width where the terminal does not say its own.
const DEFAULT_WIDTH: usize = 60;

/// Colours of the runner.
#[derive(Debug, Clone, Copy)]
pub enum Ink {
    /// Solved, right.
    Green,
    /// Wrong.
    Red,
    /// Titles.
    Bold,
    /// Less important.
    Dim,
}

/// `text` in a colour, where colours are wanted.
pub fn ink(text: &str, ink: Ink) -> String {
    let wanted =
        stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let code = match ink {
        Ink::Green => 32,
        Ink::Red => 31,
        Ink::Bold => 1,
        Ink::Dim => 2,
    };
    if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let size = || rustix::termios::tcgetwinsize(stdout()).ok().map(|size| size.ws_col.into());
    columns.or_else(size).filter(|&n: &usize| n >= 20).unwrap_or(DEFAULT_WIDTH).min(MAX_WIDTH)
}

/// Paragraphs of `text` wrapped to `width` columns; indented lines stay as they are.
pub fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let is_prose = !line.trim().is_empty() && !line.starts_with(' ');
        if !is_prose {
            lines.push(line.to_string());
            open = false;
            continue;
        }
        for word in words(line) {
            match lines.last_mut() {
                Some(last) if open && last.chars().count() + 1 + word.chars().count() <= width => {
                    last.push(' ');
                    last.push_str(&word);
                }
                _ => lines.push(word),
            }
            open = true;
        }
    }
    lines.join("\n")
}

/// Words of `line`; code between backticks is one.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match words.last_mut() {
            Some(last) if last.matches('`').count() % 2 == 1 => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_string()),
        }
    }
    words
}

/// Prints prose.
pub fn say(text: &str) {
    println!("{}", wrap(text, width()));
}

/// Prints the head of `entry`: its title, what to do and where.
pub fn head(entry: &Entry) {
    let head = entry.head();
    println!("{}", ink(&wrap(&format!("{} {}", head.number, head.title), width()), Ink::Bold));
    let facts = format!("{}, {} minutes, {}", head.kind, head.minutes, head.difficulty);
    println!("{}\n", ink(&facts, Ink::Dim));
    say(&head.text);
    if entry.is_code() {
        println!("\n{}", ink(&work::shown(entry), Ink::Bold));
    }
}

/// Prints the verdict on `entry`.
pub fn verdict(entry: &Entry, verdict: &GradeReport) {
    for line in &verdict.lines {
        let colour = match line.chars().next() {
            Some('✓') => Some(Ink::Green),
            Some('✗') => Some(Ink::Red),
            _ => None,
        };
        match colour {
            Some(colour) => println!("{}", ink(line, colour)),
            // The compiler's arrows point at columns.
            None if line.starts_with(' ') || line.contains('|') => println!("{line}"),
            None => say(line),
        }
    }
    match verdict.outcome {
        Outcome::Right => println!("{}", ink(&format!("{} is solved.", entry.name), Ink::Green)),
        Outcome::Unwritten => {
            println!(
                "{}: open it, replace `todo!` and save it; `check` grades it again.",
                work::shown(entry)
            );
        }
        Outcome::Wrong => {
            println!("{}", ink(&format!("{} is not right yet.", entry.name), Ink::Red));
            let of_mistake = verdict.read.as_deref().and_then(ReadingPlace::parse);
            let of_exercise = || verdict.mistake.and_then(|_| entry.head().read.first().copied());
            let place = of_mistake.or_else(of_exercise);
            if let Some(place) = place.and_then(|place| place.locate(&work::root())) {
                println!("Read {place}");
            }
        }
    }
}

/// Prints all exercises with the learner's progress.
pub fn list(state: &State) {
    for part in PARTS {
        println!("{}", ink(&format!("{} {}", part.number, part.title), Ink::Bold));
        for entry in part.exercises {
            println!("{}", row(state, entry));
        }
    }
    let (solved, all) = state.score();
    let n_left_out = PARTS.iter().map(|part| part.exercises.len()).sum::<usize>() - all;
    let left_out = if n_left_out > 0 { format!(", {n_left_out} skipped") } else { String::new() };
    println!("{solved} of {all} solved{left_out}");
}

/// Line of the list: mark, number, name, minutes, difficulty, at most 60 columns.
pub fn row(state: &State, entry: &Entry) -> String {
    let head = entry.head();
    let (mark, colour) = match state.of(entry).standing {
        Standing::SolvedAfterGivingUp => ("~", Ink::Dim),
        Standing::Solved => ("✓", Ink::Green),
        Standing::Open | Standing::GivenUp if !state.counts(entry) => ("-", Ink::Dim),
        Standing::Open | Standing::GivenUp => (" ", Ink::Bold),
    };
    let name = entry.name;
    let facts = format!("{:>2} min {}", head.minutes, head.difficulty);
    format!(
        "{} {:<6}{name:<28} {:<13}{facts}",
        ink(mark, colour),
        head.number,
        head.kind.to_string()
    )
}
