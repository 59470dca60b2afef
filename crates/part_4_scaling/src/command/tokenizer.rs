//! `part_4 tokenizer`: text in, a tokenizer's folder out.

use anyhow::{Context, Result};
use serde_json::json;
use tiny_gpt::command::as_usage_error;

use super::arguments::TokenizerArgs;
use super::corpus_progress;
use crate::Corpus;
use crate::tokenizer_training::ensure_valid_vocab_size;

pub(super) fn run(args: &TokenizerArgs) -> Result<()> {
    let TokenizerArgs { data, vocab_size, out, json } = args;
    as_usage_error(ensure_valid_vocab_size(*vocab_size))?;
    let corpus = Corpus::open(data)?;
    // Before the work, so that it is not in vain.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let tokenizer = corpus_progress::train_tokenizer(&corpus, *vocab_size)?;
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
