//! The tools of part 2: train a tiny GPT, sample from it, measure it. Without a subcommand: the demo.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use candle_core::DType;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;
use tensor_core::{AdamWConfig, Parameters, Rng};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::command::{
    self, ComputeFlags, SamplingFlags, SizeFlags, memory, non_negative, positive,
};
use tiny_gpt::{
    ByteTokenizer, Corpus, Gpt, GptConfig, LrDecay, RunLog, Sampling, StreamDecoder, TrainConfig,
    evaluate, generate, model_folder, train,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A step on more tokens than this would fill any memory.
const MOST_TOKENS: usize = 1 << 22;
const TOO_MANY_TOKENS: &str = "--batch-size times --block-size must be at most 4194304 tokens";

/// Part 2, a tiny GPT: train on any text, byte by byte; sample from the model; measure it.
///
/// Without a subcommand, the demo: a small model learns a built-in text and shows what it writes before and after.
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
    Train(TrainArgs),
    /// Let a model continue a prompt
    Sample(SampleArgs),
    /// Measure a model's loss on a text file
    Eval(EvalArgs),
}

#[derive(Args)]
struct DemoArgs {
    /// What the demo learns
    #[arg(long, value_enum, default_value_t = BuiltinText::English)]
    text: BuiltinText,
    /// Training steps
    #[arg(long, value_name = "N", default_value = "800")]
    steps: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
}

#[derive(Args)]
struct TrainArgs {
    /// The text, any file: its bytes are the tokens, the last tenth is held out
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The run folder: settings, metrics, loss curve and the best model
    #[arg(long, value_name = "DIR", default_value = "runs/tiny-gpt")]
    out: PathBuf,
    /// Optimiser steps
    #[arg(long, value_name = "N", default_value = "2000")]
    steps: NonZeroUsize,
    /// Windows of text per step
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: NonZeroUsize,
    /// Highest learning rate; it rises over the first twentieth of the steps
    #[arg(long, value_name = "X", default_value_t = 3e-3, allow_negative_numbers = true, value_parser = positive)]
    lr: f64,
    /// What then becomes of it
    #[arg(long, value_enum, default_value_t = LrDecay::Linear)]
    lr_decay: LrDecay,
    /// Memory of the gradients' squares; small batches are noisy and want a long one
    #[arg(long, value_name = "X", default_value_t = 0.99, allow_negative_numbers = true, value_parser = memory)]
    beta2: f64,
    /// Pull of the matrices towards 0
    #[arg(long, value_name = "X", default_value_t = 0.1, allow_negative_numbers = true, value_parser = non_negative)]
    weight_decay: f64,
    /// Largest gradient norm; 0 for no clipping
    #[arg(long, value_name = "X", default_value_t = 1., allow_negative_numbers = true, value_parser = non_negative)]
    grad_clip: f64,
    /// Steps between two looks at the held-out text
    #[arg(long, value_name = "N", default_value = "200")]
    eval_interval: NonZeroUsize,
    /// Steps between two samples; 0 for none
    #[arg(long, value_name = "N", default_value_t = 200)]
    sample_interval: usize,
    /// Length of each sample
    #[arg(long, value_name = "N", default_value_t = 256)]
    sample_tokens: usize,
    #[command(flatten)]
    size: SizeFlags,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SampleArgs {
    /// A model folder that `train` wrote
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The text to continue
    #[arg(long, default_value = "\n", hide_default_value = true)]
    prompt: String,
    /// How much to write
    #[arg(long, value_name = "N", default_value_t = 200)]
    max_new_tokens: usize,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Which part of a text file to measure.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Split {
    /// The last tenth, which training holds out
    Validation,
    /// The first nine tenths
    Train,
    /// Everything
    All,
}

#[derive(Args)]
struct EvalArgs {
    /// A model folder that `train` wrote
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The text
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Which part of it
    #[arg(long, value_enum, default_value_t = Split::Validation)]
    split: Split,
    /// Windows measured at a time
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    command::run(|cli: Cli| match cli.command {
        None => run_demo(&cli.demo),
        Some(Command::Train(args)) => run_train(&args),
        Some(Command::Sample(args)) => run_sample(&args),
        Some(Command::Eval(args)) => run_eval(&args),
    })
}

fn run_demo(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open()?;
    let corpus = Corpus::from_bytes(args.text.text().as_bytes());
    let gpt_config = GptConfig::bytes(64, 2, 4, 128);
    let steps = args.steps.get();
    let config = TrainConfig {
        steps,
        batch_size: 16,
        lr: 3e-3,
        lr_decay: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() },
        grad_clip: Some(1.),
        eval_interval: steps.div_ceil(4),
        sample_interval: steps,
    };
    let mut parameters = Parameters::seeded(args.compute.seed, DType::F32, &device);
    let model = Gpt::new(&gpt_config, parameters.root())?;
    let n = corpus.train.len();
    println!("A GPT of {} parameters learns {n} bytes of text.\n", parameters.count());
    let sampling = Sampling::new(0.8, None, Some(0.95));
    let mut log = RunLog::new(steps)?.sampling(sampling, 240).stop_on_ctrl_c()?;
    let best = train(&model, &parameters, &corpus, &config, args.compute.seed, &mut log)?;
    println!(
        "\nvalidation loss {:.4} nats per byte ({:.4} bits); 5.5452 (8 bits) would be knowing nothing",
        best.loss, best.bits_per_byte
    );
    Ok(())
}

fn run_train(args: &TrainArgs) -> Result<()> {
    let gpt_config = args.size.config()?;
    let tokens = args.batch_size.get().saturating_mul(gpt_config.block_size);
    command::usage(if tokens <= MOST_TOKENS { Ok(()) } else { Err(TOO_MANY_TOKENS) })?;
    let device = args.compute.open()?;
    let corpus = Corpus::open(&args.data)?;
    corpus.check(gpt_config.block_size)?;
    let config = TrainConfig {
        steps: args.steps.get(),
        batch_size: args.batch_size.get(),
        lr: args.lr,
        lr_decay: args.lr_decay,
        optimizer: AdamWConfig {
            beta2: args.beta2,
            weight_decay: args.weight_decay,
            ..AdamWConfig::default()
        },
        grad_clip: (args.grad_clip > 0.).then_some(args.grad_clip),
        eval_interval: args.eval_interval.get(),
        sample_interval: args.sample_interval,
    };
    let seed = args.compute.seed;
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = Gpt::new(&gpt_config, parameters.root())?;
    let settings = json!({
        "data": args.data, "seed": seed, "device": args.compute.device.to_string(),
        "model": model_folder::to_json(&gpt_config), "train": config,
    });
    println!("{} parameters, {} training bytes", parameters.count(), corpus.train.len());
    let mut log = RunLog::new(config.steps)?
        .sampling(args.sampling.sampling(), args.sample_tokens)
        .record(&args.out, &settings)?
        .stop_on_ctrl_c()?;
    let best = train(&model, &parameters, &corpus, &config, seed, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    drop(log);
    let folder = args.out.join("model");
    println!("best validation loss {:.4}, {tokens_per_second:.0} tokens/s", best.loss);
    println!("the model is in {}", folder.display());
    if args.json {
        println!(
            "{}",
            json!({
                "loss": best.loss, "bits_per_byte": best.bits_per_byte, "tokens": best.tokens,
                "tokens_per_s": tokens_per_second, "parameters": parameters.count(),
                "model": folder,
            })
        );
    }
    Ok(())
}

fn run_sample(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open()?;
    let model = model_folder::open_for_bytes(&args.model, &device)?;
    let prompt = ByteTokenizer.encode(&args.prompt);
    let mut out = std::io::stdout().lock();
    write!(out, "{}", args.prompt.trim_start_matches('\n'))?;
    let (mut stream, mut written) = (StreamDecoder::default(), Ok(()));
    let mut rng = Rng::new(args.compute.seed);
    generate(&model, &prompt, args.max_new_tokens, &args.sampling.sampling(), &mut rng, |token| {
        let text = stream.push(token);
        if written.is_ok() {
            written = write!(out, "{text}").and_then(|()| out.flush());
        }
    })?;
    written?;
    writeln!(out, "{}", stream.finish())?;
    Ok(())
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    let model = model_folder::open_for_bytes(&args.model, &device)?;
    let corpus = Corpus::open(&args.data)?;
    let tokens = match args.split {
        Split::Validation => corpus.validation,
        Split::Train => corpus.train,
        Split::All => [corpus.train, corpus.validation].concat(),
    };
    let found = evaluate(&model, &tokens, args.batch_size.get(), &device)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        let (loss, bits, n) = (found.loss, found.bits_per_byte, found.tokens);
        println!("loss {loss:.4} nats per byte, {bits:.4} bits per byte, over {n} bytes");
    }
    Ok(())
}
