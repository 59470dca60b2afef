//! The exam: the best model is what is kept, by its loss, with the normalisation of its own scores; or the one that passed.

use anyhow::Result;
use modern::LoadMode;
use sft::{ModelSaver, RunDestination, RunOutputs, SftLog, TrainState};
use tensor_core::AdamWConfig;

use super::{CPU, checkpoint, speech};
use crate::evaluation::{normalization_of_pairs, pair_rewards};
use crate::{
    Preference, RewardArchitecture, RewardCheckpoint, RewardModel, RewardValidator, tokenize_pairs,
};

#[test]
fn the_best_model_is_kept_with_its_own_normalisation_and_one_that_passes() -> Result<()> {
    let preferences = ["the answer", "of all", "What is"].map(|text| {
        Preference::new(format!("{text}?"), format!("{text} 7"), format!("{text} 1 of the"))
    });
    let pairs = tokenize_pairs(&preferences, &speech()?, 64)?.pairs;
    let begun =
        RewardCheckpoint::from_language_model(checkpoint(3)?, RewardArchitecture::Causal, None, 7)?;
    let config = *begun.model.backbone().config();
    let mut tuning = TrainState::new(config, begun.parameters, AdamWConfig::default())?;
    let twin = RewardModel::new(
        &config,
        RewardArchitecture::Causal,
        &mut tuning.parameters.for_inference(),
    )?;
    let folder = tempfile::tempdir()?;
    let keeper = ModelSaver {
        chat_tokenizer: &begun.chat_tokenizer,
        special_ids: &begun.special_ids,
        sampler: None,
        lora: None,
    };
    let place = RunDestination::new(folder.path(), &keeper, "these");
    let outputs = RunOutputs { destination: Some(place), ..RunOutputs::default() };
    let mut log = SftLog::new(9, 2, 0, 10)?;
    let mut sit = |scale: f64, stop_at| -> Result<Vec<[f64; 2]>> {
        let head = &tuning.parameters.get("score.weight").expect("a head").var;
        head.set(&(head.as_detached_tensor() * scale)?)?;
        let exam =
            RewardValidator { pairs: &pairs, batch_size: 4, interval: 1, target_accuracy: stop_at };
        exam.run(&twin, &mut tuning, &outputs, &mut log)?;
        pair_rewards(&twin, &pairs, 4)
    };
    let kept = || -> Result<_> {
        let source = folder.path().to_string_lossy();
        let kept = RewardCheckpoint::open(&source, LoadMode::Inference, &CPU)?;
        let scores = pair_rewards(&kept.model, &pairs, 4)?;
        let (stored, own) = (kept.normalization, normalization_of_pairs(&scores));
        assert!((stored.mean - own.mean).abs() < 1e-5 && (stored.std - own.std).abs() < 1e-5);
        Ok(scores)
    };
    let is = |kept: Vec<[f64; 2]>, scores: &[[f64; 2]]| {
        let (a, b) = (kept.as_flattened(), scores.as_flattened());
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    };
    let loss = |scores: &[[f64; 2]]| {
        crate::evaluation::compute_metrics(scores, &vec![[1, 1]; scores.len()]).loss
    };
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
