//! Terminal output of part 7: dataset summary, end of a run, evaluation metrics.

use anyhow::{Context, Result};
use datasets::preference::FilterCounts;
use experiment::resume::resume_hint;
use serde_json::json;
use sft::TrainState;

use super::arguments::TrainArgs;
use crate::source::PreferenceDataset;
use crate::tokenized_pairs::TokenizedPairs;
use crate::{RewardEvalMetrics, RewardNormalization, TrainConfig};

/// Prints the sizes of the splits and the counts of filtered pairs.
pub(super) fn print_dataset_summary(
    data: &TokenizedPairs,
    preferences: &PreferenceDataset,
    context_len: usize,
) -> Result<()> {
    let longest = data.pairs.iter().flat_map(|pair| [pair.chosen.len(), pair.rejected.len()]).max();
    let longest = longest.with_context(|| {
        format!(
            "no pair is left to train on: truncated to {context_len} tokens, both texts of every \
             pair are identical"
        )
    })?;
    let PreferenceDataset { validation, test, filter_counts, .. } = preferences;
    println!(
        "{} training pairs of up to {longest} tokens, {} validation pairs, {} test pairs",
        data.pairs.len(),
        validation.len(),
        test.len()
    );
    print_filter_counts(filter_counts, data);
    Ok(())
}

/// Prints the counts of pairs that were filtered out or truncated.
pub(super) fn print_filter_counts(filter_counts: &FilterCounts, data: &TokenizedPairs) {
    if filter_counts.total() > 0 {
        println!("dropped pairs: {filter_counts}");
    }
    if data.n_truncated + data.n_identical > 0 {
        println!(
            "{} pairs exceeded the context and were truncated on the left; {} more became \
             identical and were dropped",
            data.n_truncated, data.n_identical
        );
    }
}

/// Prints the end of a run: the model folder or how to resume, and the report of `--json`.
pub(super) fn print_run_report(
    args: &TrainArgs,
    train_state: &TrainState,
    config: &TrainConfig,
    tokens_per_second: f64,
) -> Result<()> {
    let progress = &train_state.progress;
    let (step, total_steps) = (progress.step, config.schedule.total_steps);
    println!("{tokens_per_second:.0} tokens/s");
    let model_folder = args.out.join("model");
    match train_state.is_finished(total_steps) {
        true => println!("the reward model is in {}", model_folder.display()),
        false => println!("{}", resume_hint("part_7", step, total_steps, &args.out)),
    }
    if args.run.json {
        let (n_trainable, n_total) = train_state.parameter_counts();
        let report = json!({
            "step": step,
            "loss": progress.best_loss,
            "target_reached": progress.target_reached,
            "tokens_per_s": tokens_per_second,
            "parameters": n_total,
            "trained_parameters": n_trainable,
            "saved": model_folder,
        });
        println!("{report}");
    }
    Ok(())
}

/// Prints evaluation metrics, and mean ± std of the raw rewards: on these pairs (`raw`), and of the
/// model's normalization (`stored`).
pub(super) fn print_metrics(
    metrics: &RewardEvalMetrics,
    raw: RewardNormalization,
    stored: RewardNormalization,
) {
    let RewardEvalMetrics { n, accuracy, accuracy_low, accuracy_high, margin, loss, .. } = *metrics;
    println!(
        "{n} pairs: accuracy {accuracy:.3} (95% CI {accuracy_low:.3} to {accuracy_high:.3}), \
         margin {margin:.3}, loss {loss:.4} nats"
    );
    println!(
        "baselines: length {:.3}, constant {:.3}, random {:.3} to {:.3}; length correlation {:.3}",
        metrics.length_only_accuracy,
        metrics.constant_accuracy,
        metrics.random_low,
        metrics.random_high,
        metrics.length_correlation
    );
    println!("confidence  accuracy  pairs");
    for bin in &metrics.calibration {
        println!("{:10.3}{:10.3}{:7}", bin.confidence, bin.accuracy, bin.n);
    }
    println!("calibration error {:.3}", metrics.calibration_error);
    println!(
        "raw rewards {:.3} ± {:.3}; normalization {:.3} ± {:.3}",
        raw.mean, raw.std, stored.mean, stored.std
    );
}
