//! The tools of part 8: let a policy learn from scores, compare it with what it was. Without a subcommand: the demo.

mod arguments;
mod demo;
mod eval_command;
mod report;
mod start;
mod train_command;

use std::process::ExitCode;

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
    })
}
