//! Demo: byte-pair encoding of a text, its speed compared with the crate `tokenizers`, and the
//! guarantees of the training pipeline.

mod pipeline;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use datasets::TextCorpus;
use datasets::builtin_text::BuiltinText;
use experiment::flags::ComputeFlags;
use experiment::program::as_usage_error;
use model_io::{AddSpecialTokens, ParseSpecial};

use crate::Bpe;
use crate::tokenizer_training::{ensure_valid_vocab_size, train_tokenizer};

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Text file or folder to train the tokenizer on [default: built-in English stories]
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    data: Option<PathBuf>,
    /// Vocabulary size
    #[arg(long, value_name = "N", default_value_t = 2048)]
    vocab_size: usize,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    as_usage_error(ensure_valid_vocab_size(args.vocab_size))?;
    args.compute.open_device()?;
    print_merges_demo(args)?;
    pipeline::print_pipeline_demo()
}

/// Prints the merges learned from a text, and a sentence in tokens.
fn print_merges_demo(args: &DemoArgs) -> Result<()> {
    let chunks: Vec<String> = match &args.data {
        Some(path) => {
            TextCorpus::open(path)?.chunks().map(|chunk| Ok(chunk?.text)).collect::<Result<_>>()?
        }
        None => BuiltinText::English.text().lines().map(|line| format!("{line}\n")).collect(),
    };
    let text = chunks.concat();

    let (bpe, train_seconds) = timed(|| Ok(Bpe::train(&text, args.vocab_size)))?;
    let quoted = |ids: &[u32]| format!("{:?}", bpe.decode(ids));
    println!("The first merges of {} bytes of text:", text.len());
    for (a, b) in bpe.merges().into_iter().take(8) {
        println!("  {:>8} + {:<8} -> {}", quoted(&[a]), quoted(&[b]), quoted(&[a, b]));
    }
    println!("\nThe start of the text in tokens, by vocabulary size:");
    let line: String = text.trim_start().chars().take(70).collect();
    let smaller = [261, 400, 1000].into_iter().filter(|&size| size < args.vocab_size);
    for size in smaller.chain([args.vocab_size]) {
        let bpe = Bpe::train(&text, size);
        let tokens: Vec<String> = bpe.encode(&line).iter().map(|&id| bpe.decode(&[id])).collect();
        println!("  {:>6}  {}", bpe.vocab_size(), tokens.join("|").replace('\n', "⏎"));
    }

    let (ids, encode_seconds) = timed(|| Ok(bpe.encode(&text)))?;
    let (hf_tokenizer, hf_train_seconds) =
        timed(|| train_tokenizer(chunks.iter(), args.vocab_size))?;
    let (hf_ids, hf_encode_seconds) =
        timed(|| hf_tokenizer.encode(&text, AddSpecialTokens::No, ParseSpecial::No))?;
    let comparison = if ids == hf_ids { "the same ids" } else { "DIFFERENT ids" };
    println!(
        "\n{} tokens in the vocabulary, {:.2} bytes per token",
        bpe.vocab_size(),
        text.len() as f64 / ids.len() as f64
    );
    println!("                      training    encoding");
    println!("this crate            {train_seconds:6.2} s    {encode_seconds:6.2} s");
    println!(
        "crate `tokenizers`    {hf_train_seconds:6.2} s    {hf_encode_seconds:6.2} s    \
         {comparison}"
    );
    Ok(())
}

/// Result of `work` and its duration in seconds.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed().as_secs_f64()))
}
