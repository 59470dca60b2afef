//! `part_7 eval`: how often a reward model prefers what was preferred.

use anyhow::Result;
use modern::Purpose;

use super::arguments::EvalArgs;
use super::report;
use crate::evaluation::normalisation;
use crate::{RewardCheckpoint, evaluate, histogram, tokenize};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open()?;
    let (source, columns) = args.data.open()?;
    let preferences = source.all(&columns)?;
    let checkpoint = RewardCheckpoint::open(&args.model, Purpose::Inference, &device)?;
    let context = checkpoint.model.body().config().context;
    let data = tokenize(&preferences.usable, &checkpoint.speech, context)?;
    report::tell_dropped(&preferences.dropped, &data);
    let (found, scores) = evaluate(&checkpoint.model, &data.pairs, args.batch_size.get())?;
    if let Some(path) = &args.histogram {
        histogram::write(path, &scores, checkpoint.normalisation)?;
    }
    report::tell(&found, normalisation(&scores), checkpoint.normalisation);
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    }
    Ok(())
}
