//! Commands of part 2: `train`, `sample` and `eval`; without a subcommand, the demo.

mod arguments;
pub mod train;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Result;
use arguments::{DemoArgs, EvalArgs, SampleArgs, Split};
use candle_core::DType;
use clap::{Parser, Subcommand};
use experiment::terminal::printable;
use experiment::{Interrupt, Run, RunLog};
use tensor_core::output::Stdout;
use tensor_core::{Parameters, Rng};
use train::{TextTrainArgs, train_new_model};

use crate::{
    ByteCorpus, ByteTokenizer, Gpt, GptConfig, SampleConfig, Sampling, StreamDecoder, TrainConfig,
    evaluate, generate, model_folder, training,
};

/// Part 2, a tiny GPT: train a byte-level model on any text, sample from it, evaluate it.
///
/// Without a subcommand: the demo, which trains a small model and prints samples before and after.
#[derive(Parser)]
#[command(name = "part_2", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model on a text file and save it as a Hugging Face GPT-2 folder
    Train(Box<TextTrainArgs>),
    /// Generate text after a prompt
    Sample(SampleArgs),
    /// Evaluate a model's loss on a text file
    Eval(EvalArgs),
}

/// Parses and runs the command line `args`, the program's name first, in this process.
///
/// # Errors
/// Those of the command, or clap's for invalid arguments and for `--help`.
pub fn parse_and_run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<()> {
    let cli = Cli::try_parse_from(args)?;
    match cli.command {
        None => run_demo(&cli.demo),
        Some(Command::Train(args)) => run_train(&args),
        Some(Command::Sample(args)) => run_sample(&args),
        Some(Command::Eval(args)) => run_eval(&args),
    }
}

fn run_demo(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (steps, seed) = (args.steps.get(), args.compute.seed);
    let corpus = ByteCorpus::from_bytes(args.text.text().as_bytes());
    let config = TrainConfig {
        eval_interval: steps.div_ceil(4),
        samples: SampleConfig {
            sample_interval: steps,
            sample_len: 240,
            sampling: Sampling::new(0.8, None, Some(0.95)),
        },
        ..TrainConfig::with_defaults(steps, 16)
    };
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = Gpt::new(&GptConfig::byte_level(64, 2, 4, 128), parameters.root())?;
    let n = corpus.train.len();
    println!("GPT with {} parameters, {n} training bytes\n", parameters.n_parameters());
    let run = Run { interrupt: Interrupt::listen()?, ..Run::default() };
    let mut log = RunLog::of_losses(steps)?;
    let best = training::train(&model, &parameters, &corpus, &config, seed, None, &run, &mut log)?;
    log.finish()?;
    println!(
        "\nvalidation loss {:.4} nats per byte ({:.4} bits); a uniform guess has 5.5452 (8 bits)",
        best.loss, best.bits_per_byte
    );
    Ok(())
}

fn run_train(args: &TextTrainArgs) -> Result<()> {
    let config = args.size.config()?;
    let config_json = model_folder::config_to_json(&config);
    let n_parameters = config.parameter_count();
    train_new_model(args, config.context_len, n_parameters, &config_json, |parameters| {
        Gpt::new(&config, parameters.root())
    })
}

fn run_sample(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let model = model_folder::open_byte_level(&args.model, &device)?;
    let prompt = ByteTokenizer.encode(&args.prompt);
    let mut out = Stdout;
    write!(out, "{}", args.prompt.trim_start_matches('\n'))?;
    let mut stream = StreamDecoder::default();
    let mut rng = Rng::new(args.compute.seed);
    generate(&model, &prompt, args.max_new_tokens, &args.sampling.sampling(), &mut rng, |token| {
        write!(out, "{}", printable(&stream.push(token)))?;
        Ok(out.flush()?)
    })?;
    writeln!(out, "{}", printable(&stream.finish()))?;
    Ok(())
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let model = model_folder::open_byte_level(&args.model, &device)?;
    let corpus = ByteCorpus::open(&args.data)?;
    let tokens = match args.split {
        Split::Validation => corpus.validation,
        Split::Train => corpus.train,
        Split::All => [corpus.train, corpus.validation].concat(),
    };
    let metrics = evaluate(&model, &tokens, args.batch_size.get(), &device)?;
    if args.json {
        println!("{}", serde_json::to_string(&metrics)?);
    } else {
        let (loss, bits, n) = (metrics.loss, metrics.bits_per_byte, metrics.tokens);
        println!("loss {loss:.4} nats per byte, {bits:.4} bits per byte, over {n} bytes");
    }
    Ok(())
}
