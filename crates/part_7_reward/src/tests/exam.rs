//! The exam: the best model is what is kept, by its loss, with the normalisation of its own scores; or the one that passed.

use std::num::NonZeroUsize;

use anyhow::Result;
use modern::Purpose;
use scaling::Checkpoints;
use sft::{Keeper, Outputs, Place, RunLog, Tuning};
use tensor_core::AdamWConfig;

use super::{CPU, checkpoint, speech};
use crate::evaluation::{normalisation, pair_scores};
use crate::{Architecture, Exam, Preference, RewardCheckpoint, RewardModel, tokenize};

#[test]
fn the_best_model_is_kept_with_its_own_normalisation_and_one_that_passes() -> Result<()> {
    let preferences = ["the answer", "of all", "What is"].map(|text| {
        Preference::new(format!("{text}?"), format!("{text} 7"), format!("{text} 1 of the"))
    });
    let pairs = tokenize(&preferences, &speech()?, 64)?.pairs;
    let begun = RewardCheckpoint::begin(checkpoint(3)?, Architecture::Causal, None, 7)?;
    let config = *begun.model.body().config();
    let mut tuning = Tuning::new(config, begun.parameters, AdamWConfig::default())?;
    let twin = RewardModel::new(&config, Architecture::Causal, &mut tuning.parameters.inference())?;
    let folder = tempfile::tempdir()?;
    let keeper = Keeper { speech: &begun.speech, ends: &begun.ends, sampler: None, lora: None };
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
    let place =
        Place { folder: folder.path(), keeper: &keeper, checkpoints, interval: 0, data: "these" };
    let outputs = Outputs { place: Some(place), ..Outputs::default() };
    let mut log = RunLog::new(9, 2, 0, 10)?;
    let mut sit = |scale: f64, stop_at| -> Result<Vec<[f64; 2]>> {
        let head = &tuning.parameters.get("score.weight").expect("a head").var;
        head.set(&(head.as_detached_tensor() * scale)?)?;
        let exam = Exam { pairs: &pairs, batch_size: 4, interval: 1, stop_at };
        exam.sit(&twin, &mut tuning, &outputs, &mut log)?;
        pair_scores(&twin, &pairs, 4)
    };
    let kept = || -> Result<_> {
        let source = folder.path().to_string_lossy();
        let kept = RewardCheckpoint::open(&source, Purpose::Inference, &CPU)?;
        let scores = pair_scores(&kept.model, &pairs, 4)?;
        let (stored, own) = (kept.normalisation, normalisation(&scores));
        assert!((stored.mean - own.mean).abs() < 1e-5 && (stored.std - own.std).abs() < 1e-5);
        Ok(scores)
    };
    let is = |kept: Vec<[f64; 2]>, scores: &[[f64; 2]]| {
        let (a, b) = (kept.as_flattened(), scores.as_flattened());
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    };
    let loss =
        |scores: &[[f64; 2]]| crate::evaluation::figures(scores, &vec![[1, 1]; scores.len()]).loss;
    // The scores of three models that differ in their heads: the first, the same with each score negated, which is better or worse.
    let first = sit(50., None)?;
    let second = sit(-1., None)?;
    let (best, worst) =
        if loss(&first) < loss(&second) { (&first, &second) } else { (&second, &first) };
    assert!(loss(best) + 0.1 < loss(worst), "they differ: {first:?}");
    assert!(is(kept()?, best));
    if is(kept()?, &second) {
        sit(-1., None)?; // the worse one is what stands now
        assert!(is(kept()?, best), "a worse one is not kept");
    }
    let passed = sit(0.001, Some(0.))?;
    assert!(is(kept()?, &passed), "good enough is what was asked for");
    Ok(())
}
