//! 8.5: the training loop learns and resumes bit for bit.

mod skipped_steps;
mod solved;

use std::num::NonZeroUsize;

use anyhow::Result;
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, RunLogConfig};
use model_io::model_folder::SpecialTokenIds;
use modern::{Checkpoint, GradientCheckpointing};
use serde_json::{Value, json};
use sft::{ChatTokenizer, ModelSaver};

use super::CPU;
use super::small_run::{
    actor_critic, bits, chat_tokenizer, config, ending, experience_of, letters, prompt_examples,
    run, run_with_log,
};
use crate::critic::Critic;
use crate::kl::KlController;
use crate::rewards::TruncationHandling;
use crate::{
    CompletionEvalConfig, CriticBackbone, PpoValidator, RewardFn, RewardShapingConfig, RunInputs,
};

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
fn gradient_checkpointing_changes_no_bit_of_policy_and_critic() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(2, chat_tokenizer.eos_token_id());
    for backbone in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let trained = |gradient_checkpointing| -> Result<_> {
            let mut actor_critic = actor_critic(&chat_tokenizer, backbone, &config)?;
            actor_critic.gradient_checkpointing = gradient_checkpointing;
            let models = actor_critic.models()?;
            assert_eq!(models.policy.gradient_checkpointing(), gradient_checkpointing);
            if let Critic::Separate(backbone, _) = &models.critic {
                assert_eq!(backbone.gradient_checkpointing(), gradient_checkpointing);
            }
            run(&mut actor_critic, &mut *letters(), &config, &Run::default(), true, None)?;
            Ok((bits(&actor_critic.policy)?, bits(&actor_critic.critic)?))
        };
        let [off, on] = [GradientCheckpointing::Off, GradientCheckpointing::On].map(trained);
        assert!(off? == on?, "{backbone:?}");
    }
    Ok(())
}

#[test]
fn a_validation_judges_truncated_completions_as_training_does() -> Result<()> {
    let n_tokens = chat_tokenizer()?.tokenizer.vocab_size() as u32;
    let config = config(1, 0);
    let judged = |truncation, stop_token_ids: Vec<u32>, reward_clip| -> Result<Option<f64>> {
        let ChatTokenizer { tokenizer, template, .. } = chat_tokenizer()?;
        let chat_tokenizer = &ChatTokenizer::new(tokenizer, template, stop_token_ids)?;
        let mut actor_critic = actor_critic(chat_tokenizer, CriticBackbone::Shared, &config)?;
        let reward_shaping = &RewardShapingConfig {
            truncation,
            missing_eos_penalty: 0.5,
            reward_clip,
            ..config.reward_shaping
        };
        let validator = PpoValidator {
            prompts: &prompt_examples(chat_tokenizer)?,
            reward_shaping,
            eval_config: CompletionEvalConfig { chat_tokenizer, max_new_tokens: 4, batch_size: 4 },
            interval: 0,
            target_reward: None,
            model_saver: None,
        };
        let mut always_3: Box<RewardFn> = Box::new(|inputs, _| Ok(vec![3.; inputs.len()]));
        let mut log = RunLog::new(RunLogConfig::rewards(1, 1, 1), 0)?;
        let model = actor_critic.models()?.rollout_policy;
        actor_critic.policy.progress.step = 1;
        validator.run(&model, &mut actor_critic.policy, &mut *always_3, &mut log)?;
        Ok(actor_critic.policy.progress.selection.best.map(|best| best.score.value()))
    };
    let (never, always) = (vec![u32::MAX], (0..n_tokens).collect::<Vec<u32>>());
    use TruncationHandling::{Bootstrap, Terminal};
    assert_eq!(judged(Bootstrap, never.clone(), None)?, Some(0.), "neither reward nor penalty");
    assert_eq!(judged(Terminal, never, None)?, Some(2.5), "the reward less the penalty");
    assert_eq!(judged(Bootstrap, always.clone(), None)?, Some(3.));
    assert_eq!(judged(Bootstrap, always, Some(1.))?, Some(1.), "clipped as in training");
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

/// No completion terminates, so each value rests on the value at a cut.
#[test]
fn values_do_not_run_away_where_all_completions_are_truncated() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(100, u32::MAX);
    config.kl_controller = KlController::Fixed(0.);
    config.reward_shaping.truncation = TruncationHandling::Bootstrap;
    config.reward_shaping.missing_eos_penalty = 1.;
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    run(&mut actor_critic, &mut *letters(), &config, &Run::default(), false, None)?;
    let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    let largest = found.returns.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(largest < 0.5, "{largest}");
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
    begun.save(folder.path(), "these", None)?;
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

#[test]
fn a_row_has_the_kl_coefficient_that_its_step_was_trained_with() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(2, chat_tokenizer.eos_token_id());
    config.kl_controller = KlController::Adaptive { init_kl_coef: 0.5, target: 1e-6, horizon: 1. };
    let folder = tempfile::tempdir()?;
    let log = RunLogConfig::rewards(2, 1, 1);
    let mut log = RunLog::create(log, &folder.path().join("run"), &json!({}))?;
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let run = Run::default();
    run_with_log(&mut actor_critic, &mut *letters(), &config, &run, false, None, &mut log)?;
    let rows = std::fs::read_to_string(folder.path().join("run/metrics.jsonl"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let coefficients: Vec<f64> = rows.iter().filter_map(|row| row["kl_coef"].as_f64()).collect();
    assert_eq!((coefficients.len(), coefficients[0]), (2, 0.5), "{coefficients:?}");
    assert_ne!(coefficients[1], 0.5, "the controller has moved it");
    assert_ne!(actor_critic.progress.kl_coef, coefficients[1], "and again after the last step");
    Ok(())
}
