//! `part_4 tokenizer`: trains a tokenizer on text and saves it as a folder.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use datasets::TextCorpus;
use experiment::program::as_usage_error;
use experiment::progress::byte_progress_bar;
use model_io::Tokenizer;
use serde_json::json;

use crate::tokenizer_training::{ensure_valid_vocab_size, train_on_corpus};

#[derive(Args)]
pub(super) struct TokenizerArgs {
    /// Text file, or folder with .txt files at any depth
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    data: PathBuf,
    /// Maximum vocabulary size: 5 special tokens, 256 bytes and the learned merges
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    vocab_size: usize,
    /// Output folder for tokenizer.json and tokenizer_config.json
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "DIR",
        default_value = "runs/tokenizer"
    )]
    out: PathBuf,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TokenizerArgs) -> Result<()> {
    let TokenizerArgs { data, vocab_size, out, json } = args;
    as_usage_error(ensure_valid_vocab_size(*vocab_size))?;
    let corpus = TextCorpus::open(data)?;
    // Created before the work, so that an unwritable --out fails at once.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let tokenizer = train_tokenizer(&corpus, *vocab_size)?;
    // A tokenizer has no maximum length; each model trained with it saves its own.
    tokenizer.save(out, usize::MAX, None)?;
    let (size, bytes_per_token) = (tokenizer.vocab_size(), corpus.bytes_per_token(&tokenizer)?);
    match json {
        true => println!("{}", json!({ "vocab_size": size, "bytes_per_token": bytes_per_token })),
        false => println!(
            "{size} tokens (at most {vocab_size}), {bytes_per_token:.2} bytes per token; \
             saved to {}",
            out.display()
        ),
    }
    Ok(())
}

/// Trains a tokenizer on all of `corpus`, with a progress bar.
pub(super) fn train_tokenizer(corpus: &TextCorpus, vocab_size: usize) -> Result<Tokenizer> {
    let bar = byte_progress_bar(corpus.n_bytes, "training the tokenizer on")?;
    let tokenizer = train_on_corpus(corpus, vocab_size, |bytes| {
        bar.inc(bytes as u64);
        if bar.position() == corpus.n_bytes as u64 {
            bar.set_message("learning merges");
        }
    })?;
    bar.finish_and_clear();
    Ok(tokenizer)
}
