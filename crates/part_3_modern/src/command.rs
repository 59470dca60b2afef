//! Commands of part 3: `train` a modern model, `generate` with any model, `score` a text, draw the
//! attention `maps` of any model; without a subcommand, the demo.

mod arguments;
mod demo;
pub mod generate;
mod generate_file;
mod maps;
mod score;

use std::ffi::OsString;

use anyhow::Result;
use arguments::{DemoArgs, GenerateArgs, MapsArgs, ScoreArgs, TrainArgs};
use clap::{Parser, Subcommand};
use model_io::config_json;
use tiny_gpt::command::train::train_new_model;

/// Part 3, the modern architecture: generate with public models, score texts, train your own.
///
/// Without a subcommand, the demo: generation with and without a KV cache, and beyond the context.
#[derive(Parser)]
#[command(name = "part_3", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a byte-level model on a text file, with a choice of components
    Train(Box<TrainArgs>),
    /// Generate a completion of a prompt, or of each prompt of a file
    Generate(Box<GenerateArgs>),
    /// Score a text: the log-probability of each token, and the perplexity
    Score(ScoreArgs),
    /// Draw the attention maps of a model's heads on a text
    Maps(MapsArgs),
}

/// Parses and runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command, or clap's for invalid arguments and for `--help`.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<()> {
    let cli = Cli::try_parse_from(args)?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => run_train(&args),
        Some(Command::Generate(args)) => match &args.prompts {
            Some(file) => generate_file::run(&args, file),
            None => generate::run(&args),
        },
        Some(Command::Score(args)) => score::run(&args),
        Some(Command::Maps(args)) => maps::run(&args),
    }
}

fn run_train(args: &TrainArgs) -> Result<()> {
    let config = args.architecture.config(&args.text.size)?;
    let (context_len, parameter_count) = (config.context_len, config.parameter_count());
    let config_json = config_json::to_json(&config);
    train_new_model(&args.text, context_len, parameter_count, &config_json, |parameters| {
        args.architecture.new_model(&config, parameters)
    })
}
