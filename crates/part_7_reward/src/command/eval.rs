//! `part_7 eval`: metrics of a reward model on preference pairs.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use datasets::{FilteredPreferences, Preference};
use experiment::progress::ProgressLine;
use experiment::{Interrupt, RunFolder};
use model_io::LoadMode;
use tensor_core::Rng;

use super::arguments::EvalArgs;
use super::report;
use crate::evaluation::{compute_metrics, normalization_of_pairs, pair_rewards};
use crate::flags::{PreferenceFlags, SplitFlags};
use crate::metrics::{PairRewards, accuracy};
use crate::source::PreferenceDataset;
use crate::{RewardCheckpoint, RewardModel, TokenizedPair, histogram, tokenize_pairs};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    if let Some(path) = &args.histogram {
        histogram::create_parent_folder(path)?;
    }
    let checkpoint = RewardCheckpoint::open(&args.model, LoadMode::Inference, &device)?;
    let FilteredPreferences { mut usable, filter_counts } = load_eval_preferences(args)?;
    if let Some(n) = args.n {
        Rng::new(args.compute.seed).shuffle(&mut usable);
        usable.truncate(n.get());
    }
    let context_len = checkpoint.model.backbone().config().context_len;
    let data = tokenize_pairs(&usable, &checkpoint.chat_tokenizer, context_len)?;
    report::print_filter_counts(&filter_counts, &data);
    let rewards = rewards_until_interrupted(&checkpoint.model, &data.pairs, args.batch_size.get())?;
    let lengths: Vec<_> = data.pairs.iter().map(|pair| pair.completion_chars).collect();
    if rewards.len() < lengths.len() {
        println!("interrupted after {} of {} pairs", rewards.len(), lengths.len());
    }
    let metrics = compute_metrics(&rewards, &lengths[..rewards.len()]);
    report::print_metrics(&metrics, normalization_of_pairs(&rewards), checkpoint.normalization);
    if args.json {
        println!("{}", serde_json::to_string(&metrics)?);
    }
    match &args.histogram {
        Some(path) => histogram::write(path, &rewards, checkpoint.normalization),
        None => Ok(()),
    }
}

/// Preferences of `--data`. Without it: those that the run of `--model` was not trained on, or the
/// arithmetic test split if the model does not belong to a run.
fn load_eval_preferences(args: &EvalArgs) -> Result<FilteredPreferences> {
    let columns = args.columns.clone();
    let requested = args.data.clone().map(|data| PreferenceFlags { data, columns });
    let Some(run) = RunFolder::read_settings(Path::new(&args.model))? else {
        return load_all(
            &requested
                .unwrap_or_else(|| PreferenceFlags { data: "arithmetic".into(), columns: None }),
        );
    };
    let run_data: PreferenceFlags = serde_json::from_value(run.clone())?;
    let run_dataset = || -> Result<PreferenceDataset> {
        let split: SplitFlags = serde_json::from_value(run.clone())?;
        split.load_dataset(&run_data, run["seed"].as_u64().unwrap_or_default())
    };
    let Some(requested) = requested else {
        let (usable, message) = run_dataset()?.into_eval_pairs();
        println!("{message}");
        return Ok(FilteredPreferences { usable, ..FilteredPreferences::default() });
    };
    let all = load_all(&requested)?;
    if requested.data == run_data.data {
        let text = |pair: &Preference| format!("{pair:?}");
        let train_texts: HashSet<String> = run_dataset()?.train.iter().map(text).collect();
        let overlap = all.usable.iter().filter(|pair| train_texts.contains(&text(pair))).count();
        if overlap > 0 {
            println!(
                "warning: the run was trained on {overlap} of these pairs; omit --data to evaluate \
                 on held-out ones"
            );
        }
    }
    Ok(all)
}

fn load_all(data: &PreferenceFlags) -> Result<FilteredPreferences> {
    let (source, columns) = data.open_source()?;
    source.load_eval_preferences(&columns)
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
        progress.update_with_message(batch, &message, n_tokens);
        if interrupt.is_requested() {
            break;
        }
    }
    ensure!(!rewards.is_empty(), "there is no pair to evaluate on");
    Ok(rewards)
}
