//! Progress display for work on a whole corpus: a bar on a terminal, otherwise a single line.

use std::io::{IsTerminal, stderr};

use anyhow::Result;
use datasets::TextCorpus;
use indicatif::{ProgressBar, ProgressStyle};
use model_io::Tokenizer;

use crate::tokenizer_training::train_on_corpus;

/// Progress bar of `task` over `bytes` bytes of text.
pub(super) fn byte_progress_bar(bytes: usize, task: &'static str) -> Result<ProgressBar> {
    if !stderr().is_terminal() {
        eprintln!("{task} {bytes} bytes");
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:12} {bytes}/{total_bytes}  {wide_msg}")?;
    Ok(ProgressBar::new(bytes as u64).with_style(style).with_message(task))
}

/// Trains a tokenizer on all of `corpus`.
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
