//! The command `generate --prompts FILE`: completions of the prompts of a file, in batches, as JSON
//! Lines.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use datasets::{ExampleColumns, json_rows};
use experiment::program::ensure_usage;
use experiment::progress::ProgressLine;
use model_io::{AddGenerationPrompt, SkipSpecialTokens};
use serde_json::{Value, json};
use tensor_core::{Rng, atomic_file, regular_file};

use super::arguments::GenerateArgs;
use super::generate::{open, text_ids};
use crate::{Checkpoint, FinishReason, generate};

/// Limit of a text file of prompts.
const MAX_BYTES: u64 = 1 << 32;

/// Prompt of a file.
struct FilePrompt {
    /// As the file has it: a text, or a list of messages.
    prompt: Value,
    ids: Vec<u32>,
}

/// Completes the prompts of `file` and writes them to `--out`, row by row in the order of the file.
/// A row has the `prompt`, the `completion` and its `finish_reason`, so the rows can be trained on.
pub(super) fn run(args: &GenerateArgs, file: &Path) -> Result<()> {
    let out = args.out.as_deref().context("--prompts needs --out FILE.jsonl")?;
    ensure_usage(
        !datasets::data_files::is_same_file(&file.to_string_lossy(), &out.to_string_lossy()),
        "--prompts and --out are the same file",
    )?;
    let (checkpoint, config) = open(args)?;
    let prompts = read_prompts(file, &checkpoint)?;
    let mut rows = atomic_file::create_temp_file(out)?;
    let mut progress = ProgressLine::new(prompts.len())?;
    let mut n_done = 0;
    for batch in prompts.chunks(args.batch_size.get()) {
        let ids: Vec<Vec<u32>> = batch.iter().map(|prompt| prompt.ids.clone()).collect();
        // A stream per batch: the completions do not depend on those before.
        let mut rng = Rng::new(args.compute.seed.wrapping_add(n_done as u64));
        let completions = generate(&checkpoint.model, &ids, &config, &mut rng, |_, _| Ok(()))?;
        let mut n_tokens = 0;
        for (FilePrompt { prompt, .. }, completion) in batch.iter().zip(completions) {
            let finish_reason = match completion.finish_reason {
                FinishReason::Stop => "stop",
                FinishReason::Length | FinishReason::ContextFull => "length",
            };
            n_tokens += completion.tokens.len();
            let text = checkpoint.tokenizer.decode(&completion.tokens, SkipSpecialTokens::Yes)?;
            let row = json!({
                "prompt": prompt, "completion": text, "finish_reason": finish_reason,
            });
            writeln!(rows, "{row}").with_context(|| format!("writing {}", out.display()))?;
        }
        n_done += batch.len();
        progress.update(n_done, "", n_tokens);
    }
    atomic_file::persist(rows, out)?;
    drop(progress);
    println!("{n_done} completions in {}", out.display());
    Ok(())
}

/// Prompts of `file`: the lines of a `.txt`, else rows. A text in the column `prompt` is continued;
/// messages, and prompts in other columns, go through the model's chat template.
fn read_prompts(file: &Path, checkpoint: &Checkpoint) -> Result<Vec<FilePrompt>> {
    let prompts = match file.extension().is_some_and(|extension| extension == "txt") {
        true => {
            let text = regular_file::read_to_string(file, MAX_BYTES)?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines.map(|line| file_prompt(&json!({ "prompt": line }), checkpoint)).collect()
        }
        false => json_rows::read_parsed(&[PathBuf::from(file)], |row| file_prompt(row, checkpoint)),
    };
    let prompts: Vec<FilePrompt> = prompts?;
    ensure!(!prompts.is_empty(), "{} has no prompts", file.display());
    Ok(prompts)
}

fn file_prompt(row: &Value, checkpoint: &Checkpoint) -> Result<FilePrompt> {
    let (prompt, ids) = match &row["prompt"] {
        Value::String(text) => (row["prompt"].clone(), text_ids(text, checkpoint)?),
        _ => {
            let messages = ExampleColumns::AnyPrompt.parse_row(row)?.prompt;
            let template = checkpoint.chat_template.as_ref();
            let template = template.context(
                "the model has no chat template: a text in the column `prompt` needs none",
            )?;
            let encoded =
                template.encode(&checkpoint.tokenizer, &messages, AddGenerationPrompt::Yes)?;
            (serde_json::to_value(messages)?, encoded.tokens)
        }
    };
    let (n, context_len) = (ids.len(), checkpoint.model.config().context_len);
    ensure!(
        n < context_len,
        "a prompt of {n} tokens leaves no room in the model's context of {context_len}"
    );
    Ok(FilePrompt { prompt, ids })
}
