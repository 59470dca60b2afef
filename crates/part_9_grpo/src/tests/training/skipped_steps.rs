//! Exclusions: rewards that are not finite, and masked completions.

use anyhow::Result;
use ppo::{CompletionEvalConfig, PromptExample, RewardFn};
use sft::RunOutputs;

use super::{
    MAX_NEW_TOKENS, chat_tokenizer, flat_parameters, grpo_config, lowercase_fraction,
    new_train_state, prompt_examples, scripted_reward_fn, train_model, train_with_outputs,
};
use crate::evaluation::GrpoEvaluator;
use crate::training::GrpoValidation;
use crate::weighted_rewards::rule_reward_fn;
use crate::{GrpoConfig, GrpoContext, GrpoLog, OverlongHandling, RunState, Task, train};

#[test]
fn a_validation_with_a_nan_reward_does_not_choose_the_best_model() -> Result<()> {
    let mut config = grpo_config(2, &chat_tokenizer()?);
    config.objective.kl = None;
    let (train_state, _) = train_with_outputs(
        &config,
        &mut *scripted_reward_fn([f64::NAN, 0.9, f64::NAN]),
        &RunOutputs::default(),
        1,
    )?;
    assert_eq!((train_state.progress.step, train_state.progress.best_loss), (2, Some(-0.9)));
    Ok(())
}

#[test]
fn a_step_with_a_nan_reward_is_skipped() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(2, &chat_tokenizer);
    let after = |config: &GrpoConfig, bad_calls: &'static [usize]| {
        let mut calls = 0;
        let mut reward_fn: Box<RewardFn> = Box::new(move |inputs, _| {
            calls += 1;
            let is_bad = bad_calls.contains(&calls);
            let reward = |input| if is_bad { f64::NAN } else { lowercase_fraction(input).into() };
            Ok(inputs.iter().map(reward).collect())
        });
        let (train_state, run_state) = train_model(config, &mut *reward_fn)?;
        anyhow::Ok((
            flat_parameters(&train_state)?,
            run_state.recent_rows.len(),
            train_state.progress.step,
        ))
    };
    // Calls: validation, step 1, step 2, validation.
    let (start, rows, step) = after(&config, &[2, 3])?;
    assert_eq!((&start, rows, step), (&flat_parameters(&new_train_state(&chat_tokenizer)?)?, 0, 2));
    let (one, rows, step) = after(&config, &[3])?;
    assert_eq!((rows, step), (1, 2));
    config.update.schedule.total_steps = 1;
    assert!(
        one != start && one == after(&config, &[])?.0,
        "the skipped step has no effect on the first"
    );
    Ok(())
}

#[test]
fn a_step_with_only_masked_completions_does_not_move_the_policy() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(1, &chat_tokenizer);
    config.advantage.overlong = OverlongHandling::Masked;
    let mut prompts = prompt_examples(&chat_tokenizer)?;
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 6,
    };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let (mut train_state, mut reward_fn) =
        (new_train_state(&chat_tokenizer)?, rule_reward_fn(lowercase_fraction));
    let mut after = |config: &GrpoConfig, prompts: &[PromptExample]| -> Result<_> {
        let validation = GrpoValidation { evaluator, prompts, interval: 0 };
        let mut context = GrpoContext { reference: None, reward_fn: &mut *reward_fn, validation };
        let mut log =
            GrpoLog::new(config.update.schedule.total_steps, 0, RunState::default(), 1000)?;
        let outputs = RunOutputs::default();
        train(&mut train_state, prompts.to_vec(), config, &mut context, &outputs, &mut log)?;
        Ok((flat_parameters(&train_state)?, log.run_state))
    };
    config.objective.kl = None;
    let (moved, run_state) = after(&config, &prompts)?; // the optimizer has momentum now
    assert_eq!(run_state.zero_advantage_steps, 0);
    config.update.schedule.total_steps = 3;
    config.rollout.stop_token_ids = vec![u32::MAX]; // never sampled
    prompts.truncate(2);
    let (unmoved, run_state) = after(&config, &prompts)?;
    assert_eq!(run_state.zero_advantage_steps, 2);
    assert!(
        run_state
            .recent_rows
            .iter()
            .all(|row| row.frac_groups_zero_advantage == 1. && row.reward_std > 0.)
    );
    assert!(moved == unmoved, "rewards differ, but all completions are masked");
    Ok(())
}
