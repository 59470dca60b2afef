//! The tools of part 7: train a reward model, measure it, collect preferences. Without a subcommand: the demo.

mod arguments;
mod collect;
mod demo;
mod eval;
mod annotator;
mod report;
mod initial_model;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use scaling::settings::expand_config;

use arguments::{CollectArgs, DEFAULT_OUT, DemoArgs, EvalArgs, TrainArgs};

/// Part 7: reward models. Without a subcommand: the demo.
#[derive(Parser)]
#[command(name = "part_7", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a reward model on preferences, all of it or by adapters
    Train(Box<TrainArgs>),
    /// Measure how often a reward model prefers what was preferred
    Eval(EvalArgs),
    /// Let a model answer questions several times, and say which answers are better
    Collect(CollectArgs),
}

/// Runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command; of arguments that are none, and where help is asked for, clap's.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli = Cli::try_parse_from(expand_config::<Cli>(args, DEFAULT_OUT)?)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Collect(args)) => collect::run(&args),
    }
}
