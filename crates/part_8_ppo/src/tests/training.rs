//! 8.4: the loop learns, goes on bit for bit, and is not led astray by what is no number.

use std::num::NonZeroUsize;

use anyhow::Result;
use modern::Checkpoint;
use modern::model_folder::SpecialTokenIds;
use scaling::{Checkpoints, LrSchedule};
use sft::{ModelSaver, RunDestination, RunOutputs};
use tiny_gpt::Interrupt;

use super::CPU;
use super::small_run::{bits, config, ending, experience_of, learner, letters, run, speech};
use crate::kl::KlController;
use crate::rewards::TruncationHandling;
use crate::{CriticBackbone, PpoConfig, RewardFn, RunInputs};

#[test]
fn what_scores_becomes_likely() -> Result<()> {
    let speech = speech()?;
    for trunk in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let config = config(60, speech.eos_token_id());
        let mut learner = learner(&speech, trunk, &config)?;
        let reached = run(&mut learner, &mut *letters(), &config, &RunOutputs::default(), false)?;
        assert!(reached > Some(0.9), "{trunk:?}: {reached:?}");
    }
    Ok(())
}

#[test]
fn a_run_in_pieces_arrives_where_a_run_in_one_does_bit_for_bit() -> Result<()> {
    let speech = speech()?;
    let config = config(5, speech.eos_token_id());
    for trunk in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let mut whole = learner(&speech, trunk, &config)?;
        run(
            &mut whole,
            &mut *crate::reward_fn::random_reward_fn(),
            &config,
            &RunOutputs::default(),
            true,
        )?;
        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let (ends, mut last) = (SpecialTokenIds::default(), None);
        for stop_after in [1, 3, 5] {
            let mut piece = learner(&speech, trunk, &config)?;
            if let Some((_, path)) = checkpoints.latest()? {
                assert!(piece.restore(&path, "other questions").is_err());
                piece.restore(&path, "these")?;
            }
            let keeper = ModelSaver {
                chat_tokenizer: &speech,
                special_ids: &ends,
                sampler: None,
                lora: None,
            };
            let place = RunDestination::new(folder.path(), &keeper, "these");
            let (interrupt, stop_after) = (Interrupt::default(), Some(stop_after));
            let outputs = RunOutputs { destination: Some(place), interrupt, stop_after };
            run(&mut piece, &mut *crate::reward_fn::random_reward_fn(), &config, &outputs, true)?;
            last = Some(piece);
        }
        let last = last.expect("the last piece");
        assert_eq!(bits(&whole.policy)?, bits(&last.policy)?, "{trunk:?}");
        assert_eq!(bits(&whole.critic)?, bits(&last.critic)?, "{trunk:?}");
        assert_eq!(whole.progress, last.progress);
        assert_ne!(whole.progress.kl_coef, 0.01, "the price adapted");
        let saved = Checkpoint::open(
            &folder.path().join("model").to_string_lossy(),
            modern::LoadMode::Inference,
            &CPU,
        );
        assert!(saved.is_ok(), "the policy is a model folder without its critic");
    }
    Ok(())
}

#[test]
fn a_score_that_is_no_number_is_named_and_its_step_skipped() -> Result<()> {
    let speech = speech()?;
    let config = config(3, speech.eos_token_id());
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    let before = bits(&learner.policy)?;
    let mut broken: Box<RewardFn> = Box::new(|replies, _| Ok(vec![f64::NAN; replies.len()]));
    run(&mut learner, &mut *broken, &config, &RunOutputs::default(), false)?;
    assert_eq!((learner.policy.progress.step, learner.progress.updates), (3, 0));
    assert_eq!(bits(&learner.policy)?, before);
    let said = crate::experience::non_finite_message(&[1., f64::NAN], &["a".into(), "b".into()]);
    assert!(said.is_some_and(|said| said.contains("1 of 2") && said.contains("\"b\"")));
    let mut short: Box<RewardFn> = Box::new(|_, _| Ok(Vec::new()));
    assert!(
        run(
            &mut learner,
            &mut *short,
            &PpoConfig { schedule: LrSchedule { total_steps: 4, ..config.schedule }, ..config },
            &RunOutputs::default(),
            false
        )
        .is_err()
    );
    Ok(())
}

#[test]
fn a_look_at_what_is_no_number_decides_nothing() -> Result<()> {
    let speech = speech()?;
    let config = config(60, speech.eos_token_id());
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    let (mut good, mut calls) = (letters(), 0);
    let mut once: Box<RewardFn> = Box::new(move |replies, rng| {
        calls += 1;
        let mut scores = good(replies, rng)?;
        if calls == 1 {
            scores[0] = f64::NAN; // the first look
        }
        Ok(scores)
    });
    let reached = run(&mut learner, &mut *once, &config, &RunOutputs::default(), false)?;
    assert!(reached > Some(0.9), "{reached:?}");
    Ok(())
}

/// Every answer scores 3 whatever it is, so nothing is ever worth more.
#[test]
fn running_on_is_worth_no_more_than_the_best_score() -> Result<()> {
    let speech = speech()?;
    for (trunk, cut) in [
        (CriticBackbone::Shared, TruncationHandling::Bootstrap),
        (CriticBackbone::Separate, TruncationHandling::Terminal),
    ] {
        let mut config = ending(100);
        config.kl_controller = KlController::Fixed(0.);
        config.reward_shaping = crate::RewardShapingConfig {
            truncation: cut,
            missing_eos_penalty: 1.,
            ..config.reward_shaping
        };
        let mut learner = learner(&speech, trunk, &config)?;
        let mut alike: Box<RewardFn> = Box::new(|replies, _| Ok(vec![3.; replies.len()]));
        run(&mut learner, &mut *alike, &config, &RunOutputs::default(), false)?;
        let found = experience_of(&mut learner, &speech, &config)?;
        let largest = found.returns.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(largest < 3.5, "{trunk:?} {cut:?}: {largest}");
    }
    Ok(())
}

#[test]
fn a_run_goes_on_with_what_it_began_with_or_not_at_all() -> Result<()> {
    let speech = speech()?;
    let config = config(1, speech.eos_token_id());
    let mut begun = learner(&speech, CriticBackbone::Shared, &config)?;
    let [a, b] = ["a", "b"].map(String::from);
    begun.run_inputs = RunInputs { reference: a.clone(), reward_fn: b.clone() };
    let folder = tempfile::tempdir()?;
    begun.save(folder.path(), "these")?;
    for (reference, scorer, says) in
        [(&a, &a, "--reward"), (&b, &b, "another reference"), (&a, &b, "")]
    {
        let mut other = learner(&speech, CriticBackbone::Shared, &config)?;
        other.run_inputs = RunInputs { reference: reference.clone(), reward_fn: scorer.clone() };
        match other.restore(folder.path(), "these") {
            Ok(()) => assert!(says.is_empty()),
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{error}"),
        }
    }
    Ok(())
}
