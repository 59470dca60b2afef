//! What `part_7` says: of the data, of how a run ended, and of how good a model is.

use anyhow::{Context, Result};
use scaling::resume::resume_hint;
use serde_json::json;
use sft::TrainState;

use super::arguments::TrainArgs;
use crate::preference::FilterCounts;
use crate::source::PreferenceDataset;
use crate::tokenized_pairs::TokenizedPairs;
use crate::{RewardEvalMetrics, RewardNormalization, TrainConfig};

/// What is learned.
pub(super) fn print_dataset_summary(
    data: &TokenizedPairs,
    examples: &PreferenceDataset,
    context: usize,
) -> Result<()> {
    let longest = data.pairs.iter().flat_map(|pair| [pair.chosen.len(), pair.rejected.len()]).max();
    let longest = longest.with_context(|| {
        format!(
            "no pair is left to learn from: within {context} tokens both texts of each are the same"
        )
    })?;
    let PreferenceDataset { validation, test, filter_counts: dropped, .. } = examples;
    println!(
        "{} pairs to learn from, texts of up to {longest} tokens; {} to choose the model by, {} apart from both",
        data.pairs.len(),
        validation.len(),
        test.len()
    );
    print_filter_counts(dropped, data);
    Ok(())
}

/// What could not be used, or not whole.
pub(super) fn print_filter_counts(dropped: &FilterCounts, data: &TokenizedPairs) {
    if dropped.total() > 0 {
        println!("dropped pairs: {dropped}");
    }
    if data.n_truncated + data.n_identical > 0 {
        println!(
            "{} pairs were longer than the context and lost their beginning; {} became identical so and were dropped",
            data.n_truncated, data.n_identical
        );
    }
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
    println!("{tokens_per_second:.0} tokens/s");
    let place = out.join("model");
    match tuning.is_finished(total) {
        true => println!("the reward model is in {}", place.display()),
        false => println!("{}", resume_hint("part_7", step, total, &args.out)),
    }
    if args.run.json {
        let (trained, all) = tuning.parameter_counts();
        let report = json!({
            "step": step, "loss": state.best_loss, "target_reached": state.target_reached, "tokens_per_s": tokens_per_second,
            "parameters": all, "trained_parameters": trained, "saved": place,
        });
        println!("{report}");
    }
    Ok(())
}

/// The figures of an evaluation, in words; and where the scores lie, here and on the texts that they are normalised by.
pub(super) fn print_metrics(
    found: &RewardEvalMetrics,
    here: RewardNormalization,
    stored: RewardNormalization,
) {
    let RewardEvalMetrics { n, accuracy, accuracy_low, accuracy_high, margin, loss, .. } = *found;
    println!(
        "{n} pairs: accuracy {accuracy:.3} ({accuracy_low:.3} to {accuracy_high:.3}), margin {margin:.3}, loss {loss:.4} nats"
    );
    println!(
        "without reading: longer or shorter {:.3}, a constant {:.3}, a coin {:.3} to {:.3}; correlation with length {:.3}",
        found.length_only_accuracy,
        found.constant_accuracy,
        found.random_low,
        found.random_high,
        found.length_correlation
    );
    println!("sure    right   pairs");
    for bin in &found.calibration {
        println!("{:.3}   {:.3}   {}", bin.confidence, bin.accuracy, bin.n);
    }
    println!("calibration error {:.3}", found.calibration_error);
    println!(
        "scores of {:.3} ± {:.3}; normalised by {:.3} ± {:.3}",
        here.mean, here.std, stored.mean, stored.std
    );
}
