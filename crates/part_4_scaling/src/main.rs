//! The tools of part 4: train a tokenizer, train a model, let it write, measure it. Without a subcommand: the demo.

mod arguments;
mod beginning;
mod demo;
mod train_command;
mod work;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use modern::sampler::Sampler;
use modern::{Checkpoint, GenerateConfig, Markers, Purpose, Special, Spelled, generate};
use scaling::dataset::tokenize_all;
use scaling::evaluation::{Extent, evaluate};
use scaling::settings::expanded;
use scaling::tokenizer_training::check;
use scaling::{Corpus, Dataset};
use serde_json::json;
use tensor_core::Rng;
use tiny_gpt::command::{self, usage};

use arguments::{Cli, Command, DEFAULT_OUT, EvalArgs, SampleArgs, TokenizerArgs};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    let args = expanded(std::env::args_os(), DEFAULT_OUT);
    command::run_with(args, |cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Tokenizer(args)) => run_tokenizer(&args),
        Some(Command::Train(args)) => train_command::run(&args),
        Some(Command::Sample(args)) => run_sample(&args),
        Some(Command::Eval(args)) => run_eval(&args),
    })
}

fn run_tokenizer(args: &TokenizerArgs) -> Result<()> {
    let TokenizerArgs { data, vocab_size, out, json } = args;
    usage(check(*vocab_size))?;
    let corpus = Corpus::open(data)?;
    // Before the work, so that it is not in vain.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let tokenizer = work::tokenizer(&corpus, *vocab_size)?;
    // A text has no longest; the model that is trained on it will say its own.
    tokenizer.save(out, usize::MAX, None)?;
    let (size, bytes_per_token) = (tokenizer.vocab_size(), corpus.bytes_per_token(&tokenizer)?);
    match json {
        true => println!("{}", json!({ "vocab_size": size, "bytes_per_token": bytes_per_token })),
        false => println!(
            "{size} tokens ({vocab_size} were wanted), {bytes_per_token:.2} bytes each; saved to {}",
            out.display()
        ),
    }
    Ok(())
}

/// The model folder that `path` is or, being a run, has.
fn model_folder(path: &Path) -> PathBuf {
    let model = path.join("model");
    if model.is_dir() { model } else { path.to_path_buf() }
}

fn run_sample(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open()?;
    let folder = model_folder(&args.model);
    let checkpoint = Checkpoint::open(&folder.to_string_lossy(), Purpose::Inference, &device)?;
    let Checkpoint { model, tokenizer, ends, .. } = &checkpoint;
    // Texts begin where another has ended.
    let mut prompt: Vec<u32> = ends.bos.into_iter().collect();
    prompt.extend(tokenizer.encode(&args.prompt, Special::None, Spelled::Text)?);
    let sampler = Sampler::new(args.sampling.sampling().into());
    let config = GenerateConfig::new(model, sampler, args.max_new_tokens, ends.eos.clone());
    let mut out = std::io::stdout().lock();
    write!(out, "{}", args.prompt)?;
    let mut stream = tokenizer.stream(Markers::Hidden, &prompt);
    let mut rng = Rng::new(args.compute.seed);
    generate(model, &[prompt.clone()], &config, &mut rng, |_, token| {
        write!(out, "{}", stream.push(token)?)?;
        Ok(out.flush()?)
    })?;
    writeln!(out, "{}", stream.finish()?)?;
    Ok(())
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    let folder = model_folder(&args.model);
    let checkpoint = Checkpoint::open(&folder.to_string_lossy(), Purpose::Inference, &device)?;
    let Checkpoint { model, tokenizer, .. } = &checkpoint;
    let extent = Extent { batch_size: args.batch_size.get(), windows: None };
    let found = match Dataset::is_at(&args.data) {
        true => evaluate(model, &Dataset::open(&args.data)?.validation, extent)?,
        false => {
            let aside = tempfile::tempdir().context("making a folder for the tokens")?;
            let tokens = tokenize_all(&Corpus::open(&args.data)?, tokenizer, aside.path())?;
            evaluate(model, &tokens, extent)?
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        let (loss, bits, n) = (found.loss, found.bits_per_byte, found.tokens);
        println!("loss {loss:.4} nats per token, {bits:.4} bits per byte, over {n} tokens");
    }
    Ok(())
}
