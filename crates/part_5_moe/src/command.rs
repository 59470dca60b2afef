//! Commands of part 5: `train` compares dense and MoE models, `sample` generates text; without a
//! subcommand, the demo.

mod arguments;
mod comparison;
mod demo;
mod router_flags;
mod train;
mod variant;

use std::ffi::OsString;

use anyhow::Result;
use arguments::{DemoArgs, SampleArgs, TrainArgs};
use candle_core::DType;
use clap::{Parser, Subcommand};
use experiment::command_line;
use model_io::{AddSpecialTokens, ParseSpecial, Tokenizer};
use modern::GenerateConfig;
use modern::command::generate::print_completion;
use modern::sampler::Sampler;
use tiny_gpt::LanguageModel;

use crate::model_folder;

/// Part 5, mixture of experts: more parameters at the same FLOPs per token.
///
/// Without a subcommand: the demo, which trains a model and shows the routing of a sentence.
#[derive(Parser)]
#[command(name = "part_5", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train dense and MoE models with equal FLOPs per token on the same text and compare them
    Train(Box<TrainArgs>),
    /// Generate text with an MoE model
    Sample(SampleArgs),
}

/// Parses and runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command, or clap's for invalid arguments and for `--help`.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<()> {
    let cli: Cli = command_line::parse(args, &[])?;
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Sample(args)) => run_sample(&args),
    }
}

fn run_sample(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (model, parameters) = model_folder::open(&args.model, DType::F32, &device)?;
    let model = model.for_inference(&parameters)?.gpt;
    let tokenizer = Tokenizer::open(&args.model)?;
    let prompt = tokenizer.encode(&args.prompt, AddSpecialTokens::Yes, ParseSpecial::No)?;
    let stop_tokens = model_io::model_folder::read_special_token_ids(&args.model)?.eos;
    let sampler = Sampler::new(args.sampling.sampling().into());
    let config = GenerateConfig::new(&model, sampler, args.max_new_tokens, stop_tokens);
    print_completion(&model, &tokenizer, &args.prompt, prompt, &config, args.compute.seed)
}
