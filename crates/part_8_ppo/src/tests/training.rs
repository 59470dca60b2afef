//! 8.5: the training loop learns, resumes bit for bit, and survives rewards that are not finite.

use std::num::NonZeroUsize;

use anyhow::Result;
use experiment::{Checkpoints, Run, RunCheckpoints};
use model_io::model_folder::SpecialTokenIds;
use modern::Checkpoint;
use scaling::LrSchedule;
use sft::ModelSaver;

use super::CPU;
use super::small_run::{
    actor_critic, bits, chat_tokenizer, config, ending, experience_of, letters, run,
};
use crate::kl::KlController;
use crate::rewards::TruncationHandling;
use crate::{CriticBackbone, PpoConfig, RewardFn, RunInputs};

#[test]
fn rewarded_completions_become_likely() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    for trunk in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let config = config(60, chat_tokenizer.eos_token_id());
        let mut actor_critic = actor_critic(&chat_tokenizer, trunk, &config)?;
        let reached =
            run(&mut actor_critic, &mut *letters(), &config, &Run::default(), false, None)?;
        assert!(reached > Some(0.9), "{trunk:?}: {reached:?}");
    }
    Ok(())
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_bit_for_bit() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(5, chat_tokenizer.eos_token_id());
    for trunk in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let mut whole = actor_critic(&chat_tokenizer, trunk, &config)?;
        run(
            &mut whole,
            &mut *crate::reward_fn::random_reward_fn(),
            &config,
            &Run::default(),
            true,
            None,
        )?;
        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let mut last = None;
        for stop_after in [1, 3, 5] {
            let mut piece = actor_critic(&chat_tokenizer, trunk, &config)?;
            if let Some((_, path)) = checkpoints.latest()? {
                assert!(piece.restore(&path, "other prompts").is_err());
                piece.restore(&path, "these")?;
            }
            let model_saver = ModelSaver {
                folder: folder.path().into(),
                config: piece.config,
                chat_tokenizer: super::small_run::chat_tokenizer()?,
                special_ids: SpecialTokenIds::default(),
                sampler: None,
                lora: None,
                base: String::new(),
            };
            let this = Run {
                checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
                stop_after: Some(stop_after),
                ..Run::default()
            };
            let mut reward_fn = crate::reward_fn::random_reward_fn();
            run(&mut piece, &mut *reward_fn, &config, &this, true, Some(&model_saver))?;
            last = Some(piece);
        }
        let last = last.expect("the last piece");
        assert_eq!(bits(&whole.policy)?, bits(&last.policy)?, "{trunk:?}");
        assert_eq!(bits(&whole.critic)?, bits(&last.critic)?, "{trunk:?}");
        assert_eq!(whole.progress, last.progress);
        assert_ne!(whole.progress.kl_coef, 0.01, "the KL coefficient adapted");
        let saved = Checkpoint::open(
            &folder.path().join("model").to_string_lossy(),
            model_io::LoadMode::Inference,
            &CPU,
        );
        assert!(saved.is_ok(), "the policy is a model folder without its critic");
    }
    Ok(())
}

#[test]
fn a_step_with_a_reward_that_is_not_finite_is_skipped() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(3, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let before = bits(&actor_critic.policy)?;
    let mut broken: Box<RewardFn> = Box::new(|replies, _| Ok(vec![f64::NAN; replies.len()]));
    run(&mut actor_critic, &mut *broken, &config, &Run::default(), false, None)?;
    assert_eq!((actor_critic.policy.progress.step, actor_critic.progress.updates), (3, 0));
    assert_eq!(bits(&actor_critic.policy)?, before);
    let said =
        crate::scored_rollouts::non_finite_message(&[1., f64::NAN], &["a".into(), "b".into()]);
    assert!(said.is_some_and(|said| said.contains("1 of 2") && said.contains("\"b\"")));
    let mut short: Box<RewardFn> = Box::new(|_, _| Ok(Vec::new()));
    assert!(
        run(
            &mut actor_critic,
            &mut *short,
            &PpoConfig { schedule: LrSchedule { total_steps: 4, ..config.schedule }, ..config },
            &Run::default(),
            false,
            None
        )
        .is_err()
    );
    Ok(())
}

#[test]
fn a_validation_with_a_nan_reward_decides_nothing() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(60, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let (mut good, mut calls) = (letters(), 0);
    let mut once: Box<RewardFn> = Box::new(move |replies, rng| {
        calls += 1;
        let mut scores = good(replies, rng)?;
        if calls == 1 {
            scores[0] = f64::NAN; // the first validation
        }
        Ok(scores)
    });
    let reached = run(&mut actor_critic, &mut *once, &config, &Run::default(), false, None)?;
    assert!(reached > Some(0.9), "{reached:?}");
    Ok(())
}

/// Every completion gets reward 3, so no return may exceed it.
#[test]
fn running_on_never_pays_more_than_the_best_reward() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
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
        let mut actor_critic = actor_critic(&chat_tokenizer, trunk, &config)?;
        let mut alike: Box<RewardFn> = Box::new(|replies, _| Ok(vec![3.; replies.len()]));
        run(&mut actor_critic, &mut *alike, &config, &Run::default(), false, None)?;
        let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        let largest = found.returns.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(largest < 3.5, "{trunk:?} {cut:?}: {largest}");
    }
    Ok(())
}

#[test]
fn a_run_resumes_only_with_its_own_inputs() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let mut begun = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let [a, b] = ["a", "b"].map(String::from);
    begun.run_inputs = RunInputs { reference: a.clone(), reward_fn: b.clone() };
    let folder = tempfile::tempdir()?;
    begun.save(folder.path(), "these")?;
    for (reference, reward_fn, expected) in
        [(&a, &a, "--reward"), (&b, &b, "another reference"), (&a, &b, "")]
    {
        let mut other = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        other.run_inputs = RunInputs { reference: reference.clone(), reward_fn: reward_fn.clone() };
        match other.restore(folder.path(), "these") {
            Ok(()) => assert!(expected.is_empty()),
            Err(error) => {
                assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}")
            }
        }
    }
    Ok(())
}
