//! The tools of part 4: train a tokenizer. Without a subcommand: the demo.

mod arguments;
mod demo;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use scaling::Corpus;
use scaling::tokenizer_training::check;
use serde_json::json;
use tiny_gpt::command::{self, usage};

use arguments::{Cli, Command, TokenizerArgs};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    command::run(|cli: Cli| match cli.command {
        None => demo::run(&cli.demo),
        Some(Command::Tokenizer(args)) => run_tokenizer(&args),
    })
}

fn run_tokenizer(args: &TokenizerArgs) -> Result<()> {
    let TokenizerArgs { data, vocab_size, out, json } = args;
    usage(check(*vocab_size))?;
    let corpus = Corpus::open(data)?;
    // Before the work, so that it is not in vain.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let bar = progress(corpus.bytes)?;
    let tokenizer = corpus.train_tokenizer(*vocab_size, |bytes| {
        bar.inc(bytes as u64);
        if bar.position() == corpus.bytes as u64 {
            bar.set_message("merging");
        }
    })?;
    bar.finish_and_clear();
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

/// A bar on a terminal, else one line.
fn progress(bytes: usize) -> Result<ProgressBar> {
    if !stderr().is_terminal() {
        eprintln!("learning from {bytes} bytes");
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes}  {msg}  {elapsed}")?;
    Ok(ProgressBar::new(bytes as u64).with_style(style).with_message("reading"))
}
