//! What a run does not learn from: scores that are no numbers, and completions that do not count.

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
use crate::{GrpoConfig, GrpoContext, GrpoLog, Overlong, RunState, Task, train};

#[test]
fn a_look_at_what_is_no_number_decides_nothing() -> Result<()> {
    let mut config = grpo_config(2, &chat_tokenizer()?);
    config.objective.kl = None;
    let (tuning, _) = train_with_outputs(
        &config,
        &mut *scripted_reward_fn([f64::NAN, 0.9, f64::NAN]),
        &RunOutputs::default(),
        1,
    )?;
    assert_eq!((tuning.progress.step, tuning.progress.best_loss), (2, Some(-0.9)));
    Ok(())
}

#[test]
fn a_step_whose_scores_are_no_numbers_is_skipped() -> Result<()> {
    let speech = chat_tokenizer()?;
    let mut config = grpo_config(2, &speech);
    let after = |config: &GrpoConfig, bad: &'static [usize]| {
        let mut calls = 0;
        let mut scorer: Box<RewardFn> = Box::new(move |replies, _| {
            calls += 1;
            let of = |reply| {
                if bad.contains(&calls) { f64::NAN } else { lowercase_fraction(reply).into() }
            };
            Ok(replies.iter().map(of).collect())
        });
        let (tuning, so_far) = train_model(config, &mut *scorer)?;
        anyhow::Ok((flat_parameters(&tuning)?, so_far.recent_rows.len(), tuning.progress.step))
    };
    // A look, step 1, step 2, a look.
    let (start, rows, step) = after(&config, &[2, 3])?;
    assert_eq!((&start, rows, step), (&flat_parameters(&new_train_state(&speech)?)?, 0, 2));
    let (one, rows, step) = after(&config, &[3])?;
    assert_eq!((rows, step), (1, 2));
    config.update.schedule.total_steps = 1;
    assert!(one != start && one == after(&config, &[])?.0, "the first step is what it is alone");
    Ok(())
}

#[test]
fn completions_that_are_all_cut_and_masked_move_nothing() -> Result<()> {
    let speech = chat_tokenizer()?;
    let mut config = grpo_config(1, &speech);
    config.advantage.overlong = Overlong::Masked;
    let mut questions = prompt_examples(&speech)?;
    let asking = CompletionEvalConfig {
        chat_tokenizer: &speech,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 6,
    };
    let exam = GrpoEvaluator { task: Task::Arithmetic, eval_config: asking };
    let (mut tuning, mut scorer) = (new_train_state(&speech)?, rule_reward_fn(lowercase_fraction));
    let mut after = |config: &GrpoConfig, questions: &[PromptExample]| -> Result<_> {
        let looks = GrpoValidation { evaluator: exam, prompts: questions, interval: 0 };
        let mut around =
            GrpoContext { reference: None, reward_fn: &mut *scorer, validation: looks };
        let mut log =
            GrpoLog::new(config.update.schedule.total_steps, 0, RunState::default(), 1000)?;
        let outputs = RunOutputs::default();
        train(&mut tuning, questions.to_vec(), config, &mut around, &outputs, &mut log)?;
        Ok((flat_parameters(&tuning)?, log.run_state))
    };
    config.objective.kl = None;
    let (moved, so_far) = after(&config, &questions)?; // the optimizer has momentum now
    assert_eq!(so_far.zero_advantage_steps, 0);
    config.update.schedule.total_steps = 3;
    config.rollout.stop_token_ids = vec![u32::MAX]; // which nobody writes
    questions.truncate(2);
    let (unmoved, so_far) = after(&config, &questions)?;
    assert_eq!(so_far.zero_advantage_steps, 2);
    assert!(
        so_far
            .recent_rows
            .iter()
            .all(|row| row.frac_groups_zero_advantage == 1. && row.reward_std > 0.)
    );
    assert!(moved == unmoved, "rewards differ, and none counts");
    Ok(())
}
