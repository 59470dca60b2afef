//! The project's own chores. `cargo x check` is what to run before a commit.

mod check;
mod compare;
mod worker;
mod layers;
mod readmes;
mod tiny_text;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x", version, about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Formatting, lints, docs, layers, texts and tests: all that must be green
    Check,
    /// Check that parts only look back
    Layers,
    /// Check that CI runs every command that a README shows
    Readmes,
    /// Write data/tiny.txt and data/tiny_hi.txt anew from their grammars
    Data {
        /// Only compare, and fail if a file differs
        #[arg(long)]
        check: bool,
    },
    /// Time the same work here and in PyTorch, in turn, and print the ratios
    Compare(#[command(flatten)] compare::Options),
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::Check => check::run(),
        Chore::Layers => layers::check(),
        Chore::Readmes => readmes::check(&root()),
        Chore::Data { check: true } => tiny_text::check(&root()),
        Chore::Compare(options) => compare::run(&options),
        Chore::Data { check: false } => tiny_text::generate(&root()),
    }
}

/// The repository, wherever the command was typed.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
