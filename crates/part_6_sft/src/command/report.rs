//! What `part_6 train` says before and after: what is learned, how much of the model learns it, and what came of it.

use anyhow::{Context, Result};
use scaling::resume::resume_hint;
use serde_json::json;

use super::arguments::TrainArgs;
use crate::tokenized_example::TokenizedDataset;
use crate::{ChatTokenizer, TrainConfig, TrainState, loss_mask};

/// What is learned, and an example of it.
pub(super) fn print_dataset_summary(
    data: &TokenizedDataset,
    speech: &ChatTokenizer,
    context: usize,
) -> Result<()> {
    let TokenizedDataset { examples, n_truncated: cut, n_skipped: skipped } = data;
    let first = examples.first().with_context(|| {
        format!("no example fits: each prompt alone fills the model's context of {context} tokens")
    })?;
    let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
    let learned: usize = examples.iter().map(crate::TokenizedExample::n_targets).sum();
    println!(
        "{} examples, {tokens} tokens, of which {learned} are learned; {cut} lost the end of their response, {skipped} were \
         skipped, as no token of it was left",
        examples.len()
    );
    println!(
        "the first, what is learned marked:\n{}",
        loss_mask::render_loss_mask(first, &speech.tokenizer)?
    );
    Ok(())
}

/// What came of it.
pub(super) fn print_run_report(
    args: &TrainArgs,
    tuning: &TrainState,
    config: &TrainConfig,
    tokens_per_second: f64,
) -> Result<()> {
    let state = &tuning.progress;
    let (step, total, out) = (state.step, config.schedule.total_steps, &args.out);
    println!("{tokens_per_second:.0} tokens/s{}", peak_memory());
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    let place = out.join(saved);
    match tuning.is_finished(total) {
        true => println!("the {saved} is in {}", place.display()),
        false => println!("{}", resume_hint("part_6", step, total, &args.out)),
    }
    if args.run.json {
        let (trained, all) = tuning.parameter_counts();
        let report = json!({
            "step": step, "loss": state.best_loss, "target_reached": state.target_reached, "tokens_per_s": tokens_per_second,
            "parameters": all, "trained_parameters": trained, saved: place,
        });
        println!("{report}");
    }
    Ok(())
}

/// The most memory that the process held, where the system tells (Linux).
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map_or(String::new(), |k| format!(", at most {} MB of memory", k * 1024 / 1_000_000))
}
