//! `part_7 eval`: metrics of a reward model on preference pairs.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use datasets::preference::FilterCounts;
use datasets::{DatasetFlags, FilteredPreferences};
use experiment::Interrupt;
use experiment::flags::ComputeFlags;
use experiment::model_runs::settings_of_runs;
use experiment::picture::create_parent_folder;
use experiment::program::as_usage_error;
use experiment::progress::ProgressLine;
use model_io::LoadMode;
use tensor_core::Rng;

use crate::evaluation::{compute_metrics, normalization_of_pairs, pair_rewards, write_histogram};
use crate::flags::PreferenceFlags;
use crate::metrics::{PairRewards, accuracy};
use crate::tokenized_pairs::TokenizedPairs;
use crate::{
    RewardCheckpoint, RewardEvalMetrics, RewardModel, RewardNormalization, TokenizedPair,
    tokenize_pairs,
};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Reward model: a folder, a run's folder, or owner/name on the Hub
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    model: String,
    /// Data, as for `train` [default: the held-out pairs of the run, else arithmetic]
    #[arg(long, visible_aliases = ["dataset", "dataset-name"], value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    dataset: DatasetFlags,
    /// Column names, as prompt=A,chosen=B,rejected=C [default: prompt, chosen and rejected]
    #[arg(long, value_name = "MAP", requires = "data")]
    columns: Option<String>,
    /// Evaluate this many random pairs, sampled with --seed [default: all]
    #[arg(long, value_name = "N")]
    n: Option<NonZeroUsize>,
    /// Texts per forward pass
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: NonZeroUsize,
    /// Write a histogram of the rewards to this PNG file
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    if let Some(path) = &args.histogram {
        create_parent_folder(path)?;
    }
    let checkpoint = RewardCheckpoint::open(&args.model, LoadMode::Inference, &device)?;
    let FilteredPreferences { mut usable, filter_counts } = load_eval_preferences(args)?;
    if let Some(n) = args.n {
        Rng::new(args.compute.seed).shuffle(&mut usable);
        usable.truncate(n.get());
    }
    let context_len = checkpoint.model.backbone().config().context_len;
    let data = tokenize_pairs(&usable, &checkpoint.chat_tokenizer, context_len)?;
    print_filter_counts(&filter_counts, &data);
    let rewards = rewards_until_interrupted(&checkpoint.model, &data.pairs, args.batch_size.get())?;
    let lengths: Vec<_> = data.pairs.iter().map(|pair| pair.completion_chars).collect();
    if rewards.len() < lengths.len() {
        println!("interrupted after {} of {} pairs", rewards.len(), lengths.len());
    }
    let metrics = compute_metrics(&rewards, &lengths[..rewards.len()]);
    print_metrics(&metrics, normalization_of_pairs(&rewards), checkpoint.normalization);
    if args.json {
        println!("{}", serde_json::to_string(&metrics)?);
    }
    match &args.histogram {
        Some(path) => write_histogram(path, &rewards, checkpoint.normalization),
        None => Ok(()),
    }
}

/// Preferences of `--data`, by default the data of the run of `--model`, or the arithmetic test
/// split if the model does not belong to a run. If a run that led to the model was trained on some
/// of these, only the pairs that it held out.
fn load_eval_preferences(args: &EvalArgs) -> Result<FilteredPreferences> {
    let (columns, dataset) = (args.columns.clone(), args.dataset.clone());
    if args.data.is_none() {
        as_usage_error(dataset.ensure_unused("(not given)"))?;
    }
    let requested = args.data.clone().map(|data| PreferenceFlags { data, dataset, columns });
    let runs = settings_of_runs(Path::new(&args.model))?;
    let data = PreferenceFlags::of_evaluation(requested, &runs)?;
    let mut filter_counts = FilterCounts::default();
    let usable = data.hold_out(&runs, || {
        let (source, columns) = data.open_source()?;
        let all = source.load_eval_preferences(&columns)?;
        filter_counts = all.filter_counts;
        Ok(all.usable)
    })?;
    Ok(FilteredPreferences { usable, filter_counts })
}

/// Raw rewards of the pairs, in order. Ctrl-C ends the evaluation after the current batch.
fn rewards_until_interrupted(
    model: &RewardModel,
    pairs: &[TokenizedPair],
    batch_size: usize,
) -> Result<Vec<PairRewards>> {
    let (interrupt, batches) = (Interrupt::listen()?, pairs.chunks(batch_size));
    let mut progress = ProgressLine::new(batches.len())?;
    let mut rewards = Vec::new();
    for (batch, pairs) in batches.enumerate() {
        rewards.extend(pair_rewards(model, pairs, batch_size)?);
        let n_tokens = pairs.iter().map(|pair| pair.chosen.len() + pair.rejected.len()).sum();
        let message = format!("accuracy {:.3}", accuracy(&rewards));
        progress.update(batch + 1, &message, n_tokens);
        if interrupt.is_requested() {
            break;
        }
    }
    ensure!(!rewards.is_empty(), "there is no pair to evaluate on");
    Ok(rewards)
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
