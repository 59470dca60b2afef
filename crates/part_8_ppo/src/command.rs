//! Commands of part 8: `train` a policy with PPO, `eval` it against its reference; without a
//! subcommand, the demo.

mod arguments;
mod config;
mod demo;
mod eval;
mod run_data;
mod report;
mod initial_policy;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use arguments::{DEFAULT_OUT, DemoArgs, EvalArgs, TrainArgs};
use clap::{Parser, Subcommand};
use experiment::settings::{expand_config, inherit_from_run};

/// Part 8: PPO for language models. Without a subcommand, the demo.
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
    /// Train a policy with PPO on a reward function
    Train(Box<TrainArgs>),
    /// Evaluate a policy against its reference model
    Eval(Box<EvalArgs>),
}

/// Settings that `eval` takes from the run of the policy unless the command line sets them.
const SETTINGS_FROM_RUN: [&str; 7] =
    ["columns", "data", "format_reward", "max_new_tokens", "reference", "reward", "template"];

/// Runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command; clap's for invalid arguments and for --help.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let mut args = expand_config::<Cli>(args, DEFAULT_OUT)?;
    if args.get(1).is_some_and(|command| command == "eval") {
        args = inherit_from_run::<Cli>(args, &SETTINGS_FROM_RUN)?;
    }
    let cli = Cli::try_parse_from(args)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
    }
}
