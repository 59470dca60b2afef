//! Development tasks. Run `cargo x check` before a commit.

mod repository;
mod book;
mod cargo;
mod check;
mod compare;
mod compare_table;
mod worker;
mod exercises;
mod layers;
mod features;
mod links;
mod processor;
mod readmes;
mod rust_text;
mod tiny_text;
mod words;

use anyhow::Result;
use clap::{Parser, Subcommand};
use repository::root;

#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x", version, about = "Development tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all checks: formatting, layers, features, READMEs, data, lints, docs and tests
    Check,
    /// Run the demo of a part and its tests: `cargo x part 3`
    Part {
        /// Number of the part
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=10))]
        number: u8,
    },
    /// Check that crates and files depend in one direction
    Layers,
    /// Check that all packages build a dependency with the same features
    Features,
    /// Check that .ci/run runs every command shown in a README
    Readmes,
    /// Check the relative links of the Markdown files, also those to a line
    Links {
        /// Correct the line numbers
        #[arg(long)]
        write: bool,
    },
    /// Check the book and build it into target/book
    Book {
        #[command(subcommand)]
        action: Option<BookAction>,
    },
    /// Draw the figures and compute the tables of the book
    #[command(name = "figures")]
    DrawFigures,
    /// Check names, line lengths and doc comments against GLOSSARY.md and retired-names.txt
    Words,
    /// Generate data/tiny.txt and data/tiny_hi.txt from their grammars
    Data {
        /// Write nothing, and fail if a file differs
        #[arg(long)]
        check: bool,
    },
    /// Work through the exercises: the next one, with a verdict on each save
    #[command(disable_help_flag = true)]
    Learn(exercises::Args),
    /// `check`: solutions, stubs, known mistakes, hints and places to read of the exercises
    #[command(disable_help_flag = true)]
    Exercises(exercises::Args),
    /// Compare the speed with PyTorch, transformers and llama.cpp
    Compare(#[command(flatten)] compare::Options),
}

#[derive(Subcommand)]
enum BookAction {
    /// Only check its sources: listings, figures, links
    Check,
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Check => check::run(),
        Task::Part { number } => check::run_part(number),
        Task::Layers => layers::check(),
        Task::Features => features::check(),
        Task::Readmes => readmes::check(&root()),
        Task::Links { write } => links::check(&root(), write),
        Task::Book { action: Some(BookAction::Check) } => book::check(&root()),
        Task::Book { action: None } => book::build(&root()),
        Task::DrawFigures => check::cargo(&["run", "--example", "book", "--", "figures"], None),
        Task::Words => words::check(&root()),
        Task::Data { check: true } => tiny_text::check(&root()),
        Task::Learn(args) => exercises::run("learn", &args),
        Task::Exercises(args) => exercises::run("exercises", &args),
        Task::Compare(options) => compare::run(&options),
        Task::Data { check: false } => tiny_text::generate(&root()),
    }
}
