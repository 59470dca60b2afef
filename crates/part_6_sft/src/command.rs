//! Commands of part 6: `train`, `sample`, `eval` and `merge`; without a subcommand, the demo.

mod arguments;
mod demo;
mod eval;
mod merge;
mod sample;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use experiment::command_line;

/// Part 6: supervised fine-tuning. Without a subcommand: the demo.
#[derive(Parser)]
#[command(name = "part_6", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Fine-tune a model on examples: all weights, or LoRA adapters
    Train(Box<arguments::TrainArgs>),
    /// Complete the same prompts with a fine-tuned model and its base model
    Sample(sample::SampleArgs),
    /// Measure the loss and the accuracy of a model
    Eval(eval::EvalArgs),
    /// Write a model with its adapter merged into it as one model folder
    Merge(merge::MergeArgs),
}

/// Settings that `eval` and `sample` take from the run of the model unless the command line sets
/// them.
const SETTINGS_FROM_RUN: [&str; 6] =
    ["columns", "data", "dataset_config", "split", "stopping_strategy", "template"];

/// Parses and runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command, or clap's for invalid arguments and for `--help`.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli: Cli = command_line::parse(args, &SETTINGS_FROM_RUN)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(mut args)) => {
            args.model.inherit_chat_template_args(&args.run.settings)?;
            train::run(&args)
        }
        Some(Command::Sample(args)) => sample::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Merge(args)) => merge::run(&args),
    }
}
