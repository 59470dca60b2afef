//! Runner of the exercises: `cargo x learn` and `cargo x exercises check`.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use exercises::entry::Task;
use exercises::grading::GradeReport;
use exercises::runner::{check, commands, help, rustlings, screen, state::State, watch, work};

#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x", version, about = "Graded exercises")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Work through the exercises: the next one, with a verdict on each save
    Learn {
        #[command(subcommand)]
        command: Option<Learn>,
    },
    /// Tasks for those who write exercises
    Exercises {
        #[command(subcommand)]
        command: Author,
    },
}

#[derive(Subcommand)]
enum Author {
    /// Check solutions, stubs, known mistakes, hints and places to read
    Check,
}

#[derive(Subcommand)]
enum Learn {
    /// Show the next exercise, and a verdict on each save (without a terminal: the list)
    #[command(name = "watch")]
    Follow {
        /// Exercise to begin with, by name or number [default: the next]
        name: Option<String>,
    },
    /// List all exercises with your progress, their minutes and difficulty
    List,
    /// Grade a file once
    Check {
        /// Exercise, by name or number [default: the next]
        name: Option<String>,
    },
    /// Show one more of the three hints
    Hint {
        /// Exercise [default: the next]
        name: Option<String>,
    },
    /// Make a file as it was at first; yours is kept beside it
    Reset {
        /// Exercise [default: the next]
        name: Option<String>,
    },
    /// Show the solution of a solved exercise
    Solution {
        /// Exercise [default: the next]
        name: Option<String>,
        /// Show it although it is not solved, and note that
        #[arg(long)]
        give_up: bool,
    },
    /// Reduce a part to its two gate exercises
    Skip {
        /// Number of the part
        part: String,
        /// Make all its exercises count again
        #[arg(long)]
        undo: bool,
    },
    /// Run the demo of a part with your functions
    Demo {
        /// Number of the part
        part: String,
    },
    /// Write a folder for the `rustlings` program
    Rustlings {
        /// Folder, new or empty
        folder: PathBuf,
    },
    /// Answer a prediction: without answers it asks, or shows the questions
    Predict {
        /// Exercise [default: the next]
        name: Option<String>,
        /// Answers, in the order of the questions
        #[arg(allow_negative_numbers = true)]
        answers: Vec<String>,
    },
    /// Grade runs by their folders: without folders it shows the exercise
    Measure {
        /// Exercise
        name: String,
        /// Run folders, in the order in which the exercise names them
        runs: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let mut good = true;
    let code = experiment::program::parse_and_run(|cli: Cli| {
        good = run(cli.command)?;
        Ok(())
    });
    if good { code } else { ExitCode::FAILURE }
}

/// Runs a command; false if a verdict is not "right".
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Exercises { command: Author::Check } => check::run().map(|()| true),
        Command::Learn { command } => learn(command.unwrap_or(Learn::Follow { name: None })),
    }
}

fn learn(command: Learn) -> Result<bool> {
    let named = |name: &Option<String>| commands::named(name.as_deref());
    let shown = |entry, verdict: GradeReport| {
        screen::verdict(entry, &verdict);
        Ok(verdict.is_right())
    };
    match command {
        Learn::Follow { name } if stdout().is_terminal() && stdin().is_terminal() => {
            watch::run(name.map(|name| commands::named(Some(&name))).transpose()?)?;
        }
        Learn::Follow { .. } => return watch::print_once(),
        Learn::List => screen::list(&State::read()?),
        Learn::Hint { name } => help::hint(named(&name)?)?,
        Learn::Reset { name } => help::reset(named(&name)?)?,
        Learn::Solution { name, give_up } => help::show_solution(named(&name)?, give_up)?,
        Learn::Skip { part, undo: false } => commands::skip(&part)?,
        Learn::Skip { part, undo: true } => commands::take_back_skip(&part)?,
        Learn::Demo { part } => commands::demo(&part)?,
        Learn::Rustlings { folder } => {
            let n = rustlings::export(&folder)?;
            println!("{}: {n} exercises for rustlings", folder.display());
        }
        Learn::Check { name } => {
            let entry = named(&name)?;
            let _lock = work::lock()?;
            return shown(entry, commands::check(entry)?);
        }
        Learn::Predict { name, answers } => {
            let entry = named(&name)?;
            let Task::Predict(questions) = entry.task else { bail!("{} asks nothing", entry.name) };
            if answers.is_empty() && stdin().is_terminal() {
                return watch::ask_at_terminal(entry, &questions());
            }
            if answers.is_empty() {
                commands::show_questions(entry, &questions());
                return Ok(true);
            }
            return shown(entry, commands::predict(entry, &answers)?);
        }
        Learn::Measure { name, runs } => {
            let entry = named(&Some(name))?;
            if let (Task::Measure(measure), true) = (entry.task, runs.is_empty()) {
                commands::show_measurement(entry, measure);
                return Ok(true);
            }
            return shown(entry, commands::measure(entry, &runs)?);
        }
    }
    Ok(true)
}
