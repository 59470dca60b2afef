//! The tools of part 9: let a model learn from rewards, and measure it.

mod arguments;
mod demo;
mod eval_command;
mod report;
mod table;
mod table_command;
mod train_command;

use std::process::ExitCode;

use anyhow::Result;
use scaling::settings::expanded;
use tiny_gpt::command;

use arguments::{Cli, Command, DEFAULT_OUT};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    let args = expanded(std::env::args_os(), DEFAULT_OUT);
    command::run_with(args, |cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train_command::run(&args),
        Some(Command::Eval(args)) => eval_command::run(&args),
        Some(Command::Table(args)) => table_command::run(&args),
        Some(Command::Tasks { out }) => {
            grpo::task_files::write(&out)?;
            println!("math_tasks_train.jsonl and math_tasks_eval.jsonl are in {}", out.display());
            Result::Ok(())
        }
    })
}
