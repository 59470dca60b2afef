//! Program of part 5: compares dense and MoE models, generates text. Without a subcommand: the
//! demo.

mod arguments;
mod comparison;
mod demo;
mod train_command;
mod variant;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use arguments::{Cli, Command, SampleArgs};
use candle_core::DType;
use experiment::program as command;
use model_io::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens, Tokenizer};
use modern::sampler::Sampler;
use modern::{GenerateConfig, generate};
use moe::model_folder;
use tensor_core::Rng;
use tiny_gpt::LanguageModel;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    command::parse_and_run(|cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Train(args)) => train_command::run(&args),
        Some(Command::Sample(args)) => run_sample(&args),
    })
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
    let mut out = std::io::stdout().lock();
    write!(out, "{}", args.prompt)?;
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &prompt);
    let mut rng = Rng::new(args.compute.seed);
    generate(&model, std::slice::from_ref(&prompt), &config, &mut rng, |_, token| {
        write!(out, "{}", stream.push(token)?)?;
        Ok(out.flush()?)
    })?;
    writeln!(out, "{}", stream.finish()?)?;
    Ok(())
}
