//! `part_7 eval`: how often a reward model prefers what was preferred.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use modern::Purpose;
use tensor_core::Rng;
use tiny_gpt::progress::Progress;
use tiny_gpt::{Interrupt, RunFolder};

use super::arguments::EvalArgs;
use super::report;
use crate::evaluation::{figures, normalisation, pair_scores};
use crate::flags::{PreferenceFlags, SplitFlags};
use crate::metrics::{Scores, accuracy};
use crate::source::Examples;
use crate::{Pair, Preference, Preferences, RewardCheckpoint, RewardModel, histogram, tokenize};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    if let Some(picture) = &args.histogram {
        histogram::make_room(picture)?;
    }
    let checkpoint = RewardCheckpoint::open(&args.model, Purpose::Inference, &device)?;
    let Preferences { mut usable, dropped } = preferences(args)?;
    if let Some(n) = args.n {
        Rng::new(args.compute.seed).shuffle(&mut usable);
        usable.truncate(n.get());
    }
    let context = checkpoint.model.body().config().context;
    let data = tokenize(&usable, &checkpoint.speech, context)?;
    report::tell_dropped(&dropped, &data);
    let scores = scored(&checkpoint.model, &data.pairs, args.batch_size.get())?;
    let lengths: Vec<_> = data.pairs.iter().map(|pair| pair.lengths).collect();
    if scores.len() < lengths.len() {
        println!("stopped: the first {} of {} pairs", scores.len(), lengths.len());
    }
    let found = figures(&scores, &lengths[..scores.len()]);
    report::tell(&found, normalisation(&scores), checkpoint.normalisation);
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    }
    match &args.histogram {
        Some(path) => histogram::write(path, &scores, checkpoint.normalisation),
        None => Ok(()),
    }
}

/// What is measured on: the data that are named, or what the run that made the model has not learned from.
fn preferences(args: &EvalArgs) -> Result<Preferences> {
    let columns = args.columns.clone();
    let named = args.data.clone().map(|data| PreferenceFlags { data, columns });
    let Some(run) = RunFolder::settings(Path::new(&args.model))? else {
        return all(
            &named.unwrap_or_else(|| PreferenceFlags { data: "arithmetic".into(), columns: None })
        );
    };
    let learned: PreferenceFlags = serde_json::from_value(run.clone())?;
    let examples = || -> Result<Examples> {
        let split: SplitFlags = serde_json::from_value(run.clone())?;
        split.examples(&learned, run["seed"].as_u64().unwrap_or_default())
    };
    let Some(named) = named else {
        let (usable, what) = examples()?.kept();
        println!("{what}");
        return Ok(Preferences { usable, ..Preferences::default() });
    };
    let all = all(&named)?;
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

fn all(data: &PreferenceFlags) -> Result<Preferences> {
    let (source, columns) = data.open()?;
    source.all(&columns)
}

/// The scores of the pairs, in order, until Ctrl-C.
fn scored(model: &RewardModel, pairs: &[Pair], batch_size: usize) -> Result<Vec<Scores>> {
    let (interrupt, pieces) = (Interrupt::catch()?, pairs.chunks(batch_size));
    let mut progress = Progress::new(pieces.len())?;
    let mut scores = Vec::new();
    for (piece, pairs) in pieces.enumerate() {
        scores.extend(pair_scores(model, pairs, batch_size)?);
        let tokens = pairs.iter().map(|pair| pair.chosen.len() + pair.rejected.len()).sum();
        progress.step_with(piece, &format!("accuracy {:.3}", accuracy(&scores)), tokens);
        if interrupt.requested() {
            break;
        }
    }
    ensure!(!scores.is_empty(), "there is no pair to evaluate on");
    Ok(scores)
}
