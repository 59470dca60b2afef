//! `part_4 tokenizer`: trains a tokenizer on text and saves it as a folder.

use anyhow::{Context, Result};
use datasets::TextCorpus;
use experiment::program::as_usage_error;
use serde_json::json;

use super::arguments::TokenizerArgs;
use super::corpus_progress;
use crate::tokenizer_training::ensure_valid_vocab_size;

pub(super) fn run(args: &TokenizerArgs) -> Result<()> {
    let TokenizerArgs { data, vocab_size, out, json } = args;
    as_usage_error(ensure_valid_vocab_size(*vocab_size))?;
    let corpus = TextCorpus::open(data)?;
    // Created before the work, so that an unwritable --out fails at once.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let tokenizer = corpus_progress::train_tokenizer(&corpus, *vocab_size)?;
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
