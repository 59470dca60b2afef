//! `part_7 eval`: how often a reward model prefers what was preferred.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use modern::LoadMode;
use tensor_core::Rng;
use tiny_gpt::progress::ProgressLine;
use tiny_gpt::{Interrupt, RunFolder};

use super::arguments::EvalArgs;
use super::report;
use crate::evaluation::{compute_metrics, normalization_of_pairs, pair_rewards};
use crate::flags::{PreferenceFlags, SplitFlags};
use crate::metrics::{PairRewards, accuracy};
use crate::source::PreferenceDataset;
use crate::{
    FilteredPreferences, Preference, RewardCheckpoint, RewardModel, TokenizedPair, histogram,
    tokenize_pairs,
};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    if let Some(picture) = &args.histogram {
        histogram::create_parent_folder(picture)?;
    }
    let checkpoint = RewardCheckpoint::open(&args.model, LoadMode::Inference, &device)?;
    let FilteredPreferences { mut usable, filter_counts } = load_eval_preferences(args)?;
    if let Some(n) = args.n {
        Rng::new(args.compute.seed).shuffle(&mut usable);
        usable.truncate(n.get());
    }
    let context = checkpoint.model.backbone().config().context_len;
    let data = tokenize_pairs(&usable, &checkpoint.chat_tokenizer, context)?;
    report::print_filter_counts(&filter_counts, &data);
    let scores = rewards_until_interrupted(&checkpoint.model, &data.pairs, args.batch_size.get())?;
    let lengths: Vec<_> = data.pairs.iter().map(|pair| pair.completion_chars).collect();
    if scores.len() < lengths.len() {
        println!("stopped: the first {} of {} pairs", scores.len(), lengths.len());
    }
    let found = compute_metrics(&scores, &lengths[..scores.len()]);
    report::print_metrics(&found, normalization_of_pairs(&scores), checkpoint.normalization);
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    }
    match &args.histogram {
        Some(path) => histogram::write(path, &scores, checkpoint.normalization),
        None => Ok(()),
    }
}

/// What is measured on: the data that are named, or what the run that made the model has not learned from.
fn load_eval_preferences(args: &EvalArgs) -> Result<FilteredPreferences> {
    let columns = args.columns.clone();
    let named = args.data.clone().map(|data| PreferenceFlags { data, columns });
    let Some(run) = RunFolder::read_settings(Path::new(&args.model))? else {
        return load_all(
            &named.unwrap_or_else(|| PreferenceFlags { data: "arithmetic".into(), columns: None }),
        );
    };
    let learned: PreferenceFlags = serde_json::from_value(run.clone())?;
    let examples = || -> Result<PreferenceDataset> {
        let split: SplitFlags = serde_json::from_value(run.clone())?;
        split.load_dataset(&learned, run["seed"].as_u64().unwrap_or_default())
    };
    let Some(named) = named else {
        let (usable, what) = examples()?.into_eval_pairs();
        println!("{what}");
        return Ok(FilteredPreferences { usable, ..FilteredPreferences::default() });
    };
    let all = load_all(&named)?;
    if named.data == learned.data {
        let texts = |pair: &Preference| format!("{pair:?}");
        let learned: HashSet<String> = examples()?.train.iter().map(texts).collect();
        let known = all.usable.iter().filter(|pair| learned.contains(&texts(pair))).count();
        if known > 0 {
            println!(
                "the run has learned from {known} of these pairs: without --data, others are measured"
            );
        }
    }
    Ok(all)
}

fn load_all(data: &PreferenceFlags) -> Result<FilteredPreferences> {
    let (source, columns) = data.open_source()?;
    source.load_all(&columns)
}

/// The scores of the pairs, in order, until Ctrl-C.
fn rewards_until_interrupted(
    model: &RewardModel,
    pairs: &[TokenizedPair],
    batch_size: usize,
) -> Result<Vec<PairRewards>> {
    let (interrupt, pieces) = (Interrupt::listen()?, pairs.chunks(batch_size));
    let mut progress = ProgressLine::new(pieces.len())?;
    let mut scores = Vec::new();
    for (piece, pairs) in pieces.enumerate() {
        scores.extend(pair_rewards(model, pairs, batch_size)?);
        let tokens = pairs.iter().map(|pair| pair.chosen.len() + pair.rejected.len()).sum();
        progress.update_with_message(piece, &format!("accuracy {:.3}", accuracy(&scores)), tokens);
        if interrupt.is_requested() {
            break;
        }
    }
    ensure!(!scores.is_empty(), "there is no pair to evaluate on");
    Ok(scores)
}
