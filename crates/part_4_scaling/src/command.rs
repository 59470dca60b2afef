//! Command line of part 4: train a tokenizer, train a model, sample from it, evaluate it. Without a
//! subcommand it runs the demo.

pub(crate) mod arguments;
mod run_data;
mod demo;
mod eval;
mod sample;
mod tokenizer;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use experiment::command_line;

/// Part 4, scaling up: subword tokens, and a training pipeline that runs unattended.
///
/// Without a subcommand, the demo: the merges learned from a text, gradient accumulation,
/// learning-rate schedules, and a run that is interrupted and resumed with identical results.
#[derive(Parser)]
#[command(name = "part_4", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a tokenizer on text and save it as tokenizer.json
    Tokenizer(tokenizer::TokenizerArgs),
    /// Train a model on text, with checkpoints to resume from
    Train(Box<arguments::TrainArgs>),
    /// Generate text from a prompt with a trained model
    Sample(sample::SampleArgs),
    /// Evaluate a model on text: loss per token and bits per byte
    Eval(eval::EvalArgs),
}

/// Runs the command line `args`, which starts with the program's name, in this process.
///
/// # Errors
/// Those of the command. Invalid arguments and requests for help return clap's error.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli: Cli = command_line::parse(args, &[])?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Tokenizer(args)) => tokenizer::run(&args),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Sample(args)) => sample::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
    }
}
