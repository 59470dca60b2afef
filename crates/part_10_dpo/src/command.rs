//! Command line of part 10: train on preferences, evaluate, choose the best of n, revise answers,
//! compare losses on length, compare methods in a table. Without a subcommand it runs the demo.

mod arguments;
mod best_of_n;
mod demo;
mod eval;
mod judge_flags;
mod length_bias;
mod revise;
mod small_run;
mod table;
mod train;
mod train_online;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use experiment::command_line;

/// Part 10: direct preference optimization (without a subcommand: the demo)
#[derive(Parser)]
#[command(name = "part_10", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a policy on preferences, with all weights or LoRA
    Train(Box<arguments::TrainArgs>),
    /// Evaluate a policy: accuracy of its implicit rewards on preference pairs
    Eval(eval::EvalArgs),
    /// Best of n completions by a judge, and majority vote, without training
    BestOfN(best_of_n::BestOfNArgs),
    /// Revise answers by preferences at test time, without training
    Revise(revise::ReviseArgs),
    /// Show which loss learns that longer is better, from pairs with and without such a bias
    LengthBias(length_bias::LengthBiasArgs),
    /// Compare DPO, iterated DPO, rejection sampling, distillation, GRPO and PPO on arithmetic
    Table(table::TableArgs),
}

/// Settings that `eval` takes from the run of the model unless the command line sets them.
const SETTINGS_FROM_RUN: [&str; 9] = [
    "beta",
    "desirable_weight",
    "label_smoothing",
    "loss",
    "reference",
    "sft_weight",
    "simpo_gamma",
    "template",
    "undesirable_weight",
];

/// Parses the command line `args` (program name first) and runs the command in this process.
///
/// # Errors
/// Errors of the command. Invalid arguments and requests for help give clap's error.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli: Cli = command_line::parse(args, &SETTINGS_FROM_RUN)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(mut args)) => {
            if let Some(note) = args.loss.note_on_defaults() {
                println!("{note}");
            }
            args.model.inherit_chat_template_args(&args.run.settings)?;
            match args.online.online {
                None => train::run(&args),
                Some(_) => train_online::run(&args),
            }
        }
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::BestOfN(args)) => best_of_n::run(&args),
        Some(Command::Revise(args)) => revise::run(&args),
        Some(Command::LengthBias(args)) => length_bias::run(&args),
        Some(Command::Table(args)) => table::run(&args, parse_and_run),
    }
}
