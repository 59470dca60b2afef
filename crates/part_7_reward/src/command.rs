//! Command line of part 7: train a reward model, evaluate it, collect preferences. Without a
//! subcommand it runs the demo.

mod agreement;
pub(crate) mod arguments;
mod collect;
mod demo;
mod eval;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use experiment::command_line;

/// Part 7: reward models (without a subcommand: the demo)
#[derive(Parser)]
#[command(name = "part_7", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a reward model on preferences, with all weights or LoRA
    Train(Box<arguments::TrainArgs>),
    /// Evaluate a reward model: accuracy on preference pairs, calibration, length bias
    Eval(eval::EvalArgs),
    /// Sample several completions per prompt and label the better ones
    Collect(collect::CollectArgs),
    /// Compare the labels of several people: agreement and Cohen's kappa
    Agreement(agreement::AgreementArgs),
}

/// Parses the command line `args` (program name first) and runs the command in this process.
///
/// # Errors
/// Errors of the command. Invalid arguments and requests for help give clap's error.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli: Cli = command_line::parse(args, &[])?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(mut args)) => {
            args.model.inherit_chat_template_args(&args.run.settings)?;
            train::run(&args)
        }
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Collect(args)) => collect::run(&args),
        Some(Command::Agreement(args)) => agreement::run(&args),
    }
}
