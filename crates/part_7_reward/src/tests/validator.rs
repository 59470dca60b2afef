//! Validation during training: the model with the best accuracy, or the one that reaches the
//! target, is saved with the normalization of its own rewards.

use anyhow::Result;
use datasets::Preference;
use experiment::{RunLog, TrainState};
use model_io::LoadMode;
use tensor_core::AdamWConfig;
use tensor_core::testing::assert_close;

use super::{CPU, chat_tokenizer, checkpoint, model_saver};
use crate::evaluation::{normalization_of_pairs, pair_rewards};
use crate::metrics::accuracy;
use crate::{RewardArchitecture, RewardCheckpoint, RewardModel, RewardValidator, tokenize_pairs};

#[test]
fn the_best_model_or_the_one_that_reaches_the_target_is_saved() -> Result<()> {
    let preferences = ["the answer", "of all", "What is"].map(|text| {
        Preference::new(format!("{text}?"), format!("{text} 7"), format!("{text} 1 of the"))
    });
    let pairs = tokenize_pairs(&preferences, &chat_tokenizer()?, 64)?.pairs;
    let architecture = RewardArchitecture::CausalLastToken;
    let initial = RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?;
    let config = *initial.model.backbone().config();
    let mut train_state = TrainState::new(initial.parameters, AdamWConfig::default())?;
    let mut view = train_state.parameters.for_inference();
    let inference_model = RewardModel::new(&config, architecture, &mut view)?;
    let folder = tempfile::tempdir()?;
    let saver = model_saver(folder.path(), config)?;
    let mut log = RunLog::of_losses(9)?;
    let mut scale_head_and_validate =
        |factor: f64, target_accuracy: Option<f64>| -> Result<Vec<[f64; 2]>> {
            train_state.progress.step += 1;
            let head = &train_state.parameters.get("score.weight").expect("a head").var;
            head.set(&(head.as_detached_tensor() * factor)?)?;
            let validator = RewardValidator {
                pairs: &pairs,
                batch_size: 4,
                interval: 1,
                target_accuracy,
                model_saver: Some(&saver),
            };
            validator.run(&inference_model, &mut train_state, &mut log)?;
            pair_rewards(&inference_model, &pairs, 4)
        };
    let saved_rewards = || -> Result<_> {
        let source = folder.path().to_string_lossy();
        let saved = RewardCheckpoint::open(&source, LoadMode::Inference, &CPU)?;
        let rewards = pair_rewards(&saved.model, &pairs, 4)?;
        let (stored, own) = (saved.normalization, normalization_of_pairs(&rewards));
        assert_close(stored.mean, own.mean, 1e-5);
        assert_close(stored.std, own.std, 1e-5);
        Ok(rewards)
    };
    let is_close = |a: Vec<[f64; 2]>, b: &[[f64; 2]]| {
        let (a, b) = (a.as_flattened(), b.as_flattened());
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    };
    // Three models that differ in their heads. The second has the rewards of the first, negated,
    // and is either better or worse.
    let first = scale_head_and_validate(50., None)?;
    let second = scale_head_and_validate(-1., None)?;
    let (best, worst) =
        if accuracy(&first) > accuracy(&second) { (&first, &second) } else { (&second, &first) };
    assert!(accuracy(best) > accuracy(worst), "the accuracies must differ: {first:?}");
    assert!(is_close(saved_rewards()?, best));
    if is_close(saved_rewards()?, &second) {
        scale_head_and_validate(-1., None)?; // back to the worse model
        assert!(is_close(saved_rewards()?, best), "a worse model was saved");
    }
    let at_target = scale_head_and_validate(0.001, Some(0.))?;
    assert!(is_close(saved_rewards()?, &at_target), "the model at the target was not saved");
    Ok(())
}
