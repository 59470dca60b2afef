//! What the runner prints: wrapped to the width of the terminal, coloured unless `NO_COLOR` is set
//! or the output goes elsewhere.

use std::io::{IsTerminal, stdout};

use super::state::{Progress, Standing, State};
use super::work;
use crate::course::{self, PARTS};
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
    let mut paragraph = String::new();
    for line in text.lines() {
        let is_prose = !line.trim().is_empty() && !line.starts_with(' ');
        if is_prose {
            paragraph.push_str(line);
            paragraph.push(' ');
        } else {
            lines.extend(wrap_paragraph(&paragraph, width));
            paragraph.clear();
            lines.push(line.to_string());
        }
    }
    lines.extend(wrap_paragraph(&paragraph, width));
    lines.join("\n")
}

/// Lines of a paragraph. Code that is wider than `width` has indented lines of its own, one for
/// each statement.
fn wrap_paragraph(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for word in words(text) {
        let length = word.chars().count();
        if length > width
            && let Some(code) = code_alone(&word)
        {
            lines.extend(statements(code).into_iter().map(|line| format!("    {line}")));
            open = false;
            continue;
        }
        match lines.last_mut() {
            Some(last) if open && last.chars().count() + 1 + length <= width => {
                last.push(' ');
                last.push_str(&word);
            }
            _ => lines.push(word),
        }
        open = true;
    }
    lines
}

/// Code of a word that is nothing else, a punctuation mark behind it aside.
fn code_alone(word: &str) -> Option<&str> {
    let (code, after) = word.strip_prefix('`')?.rsplit_once('`')?;
    let is_alone = !code.contains('`') && after.chars().all(|c| ".,;:".contains(c));
    is_alone.then_some(code)
}

/// Statements of `code`, split behind each semicolon that is not in brackets.
fn statements(code: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut depth = 0;
    for c in code.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if let Some(last) = statements.last_mut()
            && !(last.is_empty() && c == ' ')
        {
            last.push(c);
        }
        if c == ';' && depth == 0 {
            statements.push(String::new());
        }
    }
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// Words of a paragraph; code between backticks is one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
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
        Outcome::Right => {
            println!("{}", ink(&format!("{} is solved.", entry.name), Ink::Green));
            for line in after_solving(entry) {
                println!("{line}");
            }
        }
        Outcome::Unwritten => {
            println!(
                "{}: open it, replace `todo!` and save it; `check` grades it again.",
                work::shown(entry)
            );
        }
        Outcome::Wrong => {
            let progress = State::read().map(|state| state.of(entry)).unwrap_or_default();
            let line = match progress.standing.is_solved() {
                true => format!("{} is not right this time; it stays solved.", entry.name),
                false => format!("{} is not right yet.", entry.name),
            };
            println!("{}", ink(&line, Ink::Red));
            if let Some(place) = place_to_read(entry, verdict, &progress) {
                println!("Read {place}");
            }
        }
    }
}

/// Place to read about the known mistake that `verdict` names: its own, or a section for the
/// exercise. Code may hold the solution, and is shown if `progress` allows it.
pub fn place_to_read(entry: &Entry, verdict: &GradeReport, progress: &Progress) -> Option<String> {
    verdict.mistake?;
    let of_mistake = verdict.read.as_deref().and_then(ReadingPlace::parse);
    let of_mistake = of_mistake.filter(|place| !place.is_code() || progress.may_see_code(entry));
    let place = of_mistake.or_else(|| entry.head().sections().next())?;
    place.locate(&work::root())
}

/// Lines below the verdict on a solved exercise: the course's own code, and the demo that takes the
/// learner's function.
pub fn after_solving(entry: &Entry) -> Vec<String> {
    let head = entry.head();
    let code = head.code().filter_map(|place| place.locate(&work::root()));
    let mut lines: Vec<String> = code.map(|place| format!("In the course: {place}")).collect();
    if let Some(part) = course::part(head.part())
        && part.demo.contains(&entry.name)
    {
        lines.push(format!("`cargo x learn demo {}` runs with your function.", part.number));
    }
    lines
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
