//! The tools of part 8: let a policy learn from scores, compare it with what it was. Without a subcommand: the demo.

mod arguments;
mod demo;
mod eval;
mod report;
mod start;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use scaling::settings::expanded;

use arguments::{DEFAULT_OUT, DemoArgs, EvalArgs, TrainArgs};

/// Part 8: PPO for language models. Without a subcommand: the demo.
#[derive(Parser)]
#[command(name = "part_8", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Let a model answer, and raise the probability of what scores well
    Train(Box<TrainArgs>),
    /// Compare a policy with its reference
    Eval(Box<EvalArgs>),
}

/// Runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command; of arguments that are none, and where help is asked for, clap's.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli = Cli::try_parse_from(expanded(args, DEFAULT_OUT)?)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
    }
}
