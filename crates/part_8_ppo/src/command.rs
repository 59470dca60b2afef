//! Commands of part 8: `train` a policy with PPO, `eval` it against its reference; without a
//! subcommand, the demo.

mod arguments;
mod demo;
mod eval;
mod run_data;
mod train;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};
use experiment::command_line;

/// Part 8: PPO for language models. Without a subcommand, the demo.
#[derive(Parser)]
#[command(name = "part_8", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a policy with PPO on a reward function
    Train(Box<arguments::TrainArgs>),
    /// Evaluate a policy against its reference model
    Eval(Box<eval::EvalArgs>),
}

/// Settings that `eval` takes from the run of the policy unless the command line sets them.
const SETTINGS_FROM_RUN: [&str; 23] = [
    "code_memory",
    "code_python",
    "code_score",
    "code_timeout",
    "columns",
    "correct_reward",
    "data",
    "dataset_config",
    "format_reward",
    "judge_model",
    "judge_prompt",
    "judge_template_arg",
    "max_new_tokens",
    "max_prompt_length",
    "prompt_format",
    "reference",
    "reward",
    "reward_program",
    "reward_timeout",
    "split",
    "stopping_strategy",
    "template",
    "wrong_reward",
];

/// Runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command; clap's for invalid arguments and for --help.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<()> {
    let cli: Cli = command_line::parse(args, &SETTINGS_FROM_RUN)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(mut args)) => {
            args.model.inherit_chat_template_args(&args.run.settings)?;
            train::run(&args)
        }
        Some(Command::Eval(args)) => eval::run(*args),
    }
}
