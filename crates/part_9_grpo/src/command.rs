//! Commands of part 9: `train` a policy with GRPO, `eval` it, compare algorithms in a `table`, test
//! them on `perfectible` problems, write the files of the arithmetic `tasks`; without a subcommand,
//! the demo.

mod step_flags;
pub(crate) mod arguments;
mod table_arguments;
mod demo;
mod eval;
pub(crate) mod ppo_run;
pub(crate) mod algorithms;
mod run_data;
mod table;
pub(crate) mod perfectible;
mod train;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use arguments::{DemoArgs, EvalArgs, TrainArgs};
use clap::{Parser, Subcommand};
use datasets::arithmetic_questions::write_math_tasks;
use experiment::command_line;
use table_arguments::{PerfectibleArgs, TableArgs};

/// Part 9: group-relative policy optimization (GRPO). Without a subcommand, the demo.
#[derive(Parser)]
#[command(name = "part_9", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a policy with GRPO, RLOO or REINFORCE on verifiable rewards or a reward model
    Train(Box<TrainArgs>),
    /// Evaluate a policy: exact match, pass@k, and a comparison with its reference model
    Eval(Box<EvalArgs>),
    /// Compare baselines of the advantage, PPO and SFT on arithmetic
    Table(TableArgs),
    /// Test algorithms on problems that the model solves sometimes: each must reach a training
    /// accuracy of 95 %
    Perfectible(PerfectibleArgs),
    /// Write data/math_tasks_train.jsonl and data/math_tasks_eval.jsonl
    Tasks {
        /// Folder of the files
        #[arg(long, value_name = "DIR", default_value = "data")]
        out: PathBuf,
    },
}

/// Settings that `eval` takes from the run of the policy unless the command line sets them.
const SETTINGS_FROM_RUN: [&str; 21] = [
    "code_memory",
    "code_python",
    "code_score",
    "code_timeout",
    "correct_reward",
    "data",
    "dataset_config",
    "judge_model",
    "judge_prompt",
    "judge_template_arg",
    "max_new_tokens",
    "max_prompt_length",
    "prompt_format",
    "reward",
    "reward_program",
    "reward_timeout",
    "split",
    "stopping_strategy",
    "task",
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
            args.chat_template.inherit_args(&args.policy.model, &args.run.settings)?;
            train::run(&args)
        }
        Some(Command::Eval(args)) => eval::run(*args),
        Some(Command::Table(args)) => table::run(&args),
        Some(Command::Perfectible(args)) => perfectible::run(&args),
        Some(Command::Tasks { out }) => {
            write_math_tasks(&out)?;
            println!("math_tasks_train.jsonl and math_tasks_eval.jsonl are in {}", out.display());
            Ok(())
        }
    }
}
