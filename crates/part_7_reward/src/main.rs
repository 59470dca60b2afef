//! The tools of part 7: train a reward model, measure it, collect preferences. Without a subcommand: the demo.

mod arguments;
mod collect_command;
mod demo;
mod report;
mod train_command;

use std::process::ExitCode;

use anyhow::Result;
use modern::Purpose;
use reward::evaluation::normalisation;
use reward::{RewardCheckpoint, evaluate, histogram, tokenize};
use scaling::settings::expanded;
use tiny_gpt::command;

use arguments::{Cli, Command, DEFAULT_OUT, EvalArgs};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    let args = expanded(std::env::args_os(), DEFAULT_OUT);
    command::run_with(args, |cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train_command::run(&args),
        Some(Command::Eval(args)) => run_eval(&args),
        Some(Command::Collect(args)) => collect_command::run(&args),
    })
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (source, columns) = args.data.open()?;
    let preferences = source.all(&columns)?;
    let checkpoint = RewardCheckpoint::open(&args.model, Purpose::Inference, &device)?;
    let context = checkpoint.model.body().config().context;
    let data = tokenize(&preferences.usable, &checkpoint.speech, context)?;
    report::tell_dropped(&preferences.dropped, &data);
    let (found, scores) = evaluate(&checkpoint.model, &data.pairs, args.batch_size.get())?;
    if let Some(path) = &args.histogram {
        histogram::write(path, &scores, checkpoint.normalisation)?;
    }
    report::tell(&found, normalisation(&scores), checkpoint.normalisation);
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    }
    Ok(())
}
