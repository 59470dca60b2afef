//! Output of `part_6 train`: the data set and its loss mask before training, a summary after it.

use anyhow::{Context, Result};
use experiment::resume::resume_hint;
use serde_json::json;

use super::arguments::TrainArgs;
use crate::tokenized_example::TokenizedDataset;
use crate::{ChatTokenizer, TrainConfig, TrainState, loss_mask};

/// Prints the size of the training set, and the loss mask of its first example.
pub(super) fn print_dataset_summary(
    data: &TokenizedDataset,
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<()> {
    let TokenizedDataset { examples, n_truncated, n_skipped } = data;
    let first = examples.first().with_context(|| {
        format!("no example fits: every prompt fills the model's context of {context_len} tokens")
    })?;
    let n_tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
    let n_targets: usize = examples.iter().map(crate::TokenizedExample::n_targets).sum();
    println!(
        "{} examples, {n_tokens} tokens, {n_targets} of them in the loss; \
         {n_truncated} completions truncated, {n_skipped} examples skipped \
         (no token of the completion fits)",
        examples.len()
    );
    println!(
        "the first example; ^ marks the tokens in the loss:\n{}",
        loss_mask::render_loss_mask(first, &chat_tokenizer.tokenizer)?
    );
    Ok(())
}

/// Prints the throughput, and the saved model or how to resume.
pub(super) fn print_run_report(
    args: &TrainArgs,
    train_state: &TrainState,
    config: &TrainConfig,
    tokens_per_second: f64,
) -> Result<()> {
    let progress = &train_state.progress;
    let (step, total_steps, out) = (progress.step, config.schedule.total_steps, &args.out);
    println!("{tokens_per_second:.0} tokens/s{}", peak_memory());
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    let path = out.join(saved);
    match train_state.is_finished(total_steps) {
        true => println!("the {saved} is in {}", path.display()),
        false => println!("{}", resume_hint("part_6", step, total_steps, &args.out)),
    }
    if args.run.json {
        let (trained, all) = train_state.parameter_counts();
        let report = json!({
            "step": step, "loss": progress.best_loss, "target_reached": progress.target_reached,
            "tokens_per_s": tokens_per_second, "parameters": all, "trained_parameters": trained,
            saved: path,
        });
        println!("{report}");
    }
    Ok(())
}

/// Peak memory of the process in words, where the system reports it (Linux).
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map_or(String::new(), |k| format!(", peak memory {} MB", k * 1024 / 1_000_000))
}
