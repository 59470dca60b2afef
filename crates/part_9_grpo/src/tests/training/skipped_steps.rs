//! Exclusions: rewards that are not finite, and masked completions.

use anyhow::Result;
use experiment::{Run, RunLog, RunLogConfig, Score};
use ppo::{CompletionEvalConfig, PromptExample, PromptLoader, RewardFn, Scoring};
use serde_json::{Value, json};

use super::{
    MAX_NEW_TOKENS, chat_tokenizer, flat_parameters, grpo_config, lowercase_fraction, new_policy,
    prompt_examples, scripted_reward_fn, train_new, train_policy,
};
use crate::weighted_rewards::rule_reward_fn;
use crate::{GrpoConfig, GrpoEvaluator, GrpoValidator, OverlongHandling, Task, train};

#[test]
fn a_validation_with_a_nan_reward_does_not_choose_the_best_model() -> Result<()> {
    let mut config = grpo_config(2, &chat_tokenizer()?);
    config.objective.kl = None;
    let chat_tokenizer = chat_tokenizer()?;
    let mut policy = new_policy(&chat_tokenizer, config.reference_update)?;
    let (prompts, run) = (prompt_examples(&chat_tokenizer)?, Run::default());
    let mut scripted = scripted_reward_fn([f64::NAN, 0.9, f64::NAN]);
    train_policy(&mut policy, &prompts, &config, &mut *scripted, 1, None, &run)?;
    let progress = &policy.state.progress;
    let best = progress.selection.best.map(|best| (best.step, best.score));
    assert_eq!((progress.step, best), (2, Some((1, Score::Reward(0.9)))));
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
        let (policy, _) = train_new(config, &mut *reward_fn)?;
        let n_steps = policy.progress.recent_steps.len();
        anyhow::Ok((flat_parameters(&policy)?, n_steps, policy.state.progress.step))
    };
    // Calls: validation, step 1, step 2, validation.
    let (start, rows, step) = after(&config, &[2, 3])?;
    assert_eq!(
        (&start, rows, step),
        (&flat_parameters(&new_policy(&chat_tokenizer, None)?)?, 0, 2)
    );
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
fn a_skipped_step_counts_raises_one_alarm_and_training_goes_on() -> Result<()> {
    let chat_tokenizer = &chat_tokenizer()?;
    let (mut config, prompts) = (grpo_config(4, chat_tokenizer), prompt_examples(chat_tokenizer)?);
    let eval_config =
        CompletionEvalConfig { chat_tokenizer, max_new_tokens: MAX_NEW_TOKENS, batch_size: 6 };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let validator = GrpoValidator { prompts: &prompts, evaluator, interval: 0, model_saver: None };
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let mut log = RunLog::create(RunLogConfig::rewards(4, 1, 1), &out, &json!({}))?;
    // Calls: validation, step 1, validation, step 2, validation, step 3 and so on.
    let mut calls = 0;
    let mut reward_fn: Box<RewardFn> = Box::new(move |inputs, _| {
        calls += 1;
        let reward = |input| if calls == 4 { f64::NAN } else { lowercase_fraction(input).into() };
        Ok(inputs.iter().map(reward).collect())
    });
    let mut scoring = Scoring::from_fn(chat_tokenizer, &mut *reward_fn, None);
    let mut loader = PromptLoader::new(prompts.clone(), config.seed)?;
    let mut policy = new_policy(chat_tokenizer, config.reference_update)?;
    let run = Run::default();
    let (mut weights, mut tokens) = (vec![flat_parameters(&policy)?], vec![0]);
    for total_steps in 1..=4 {
        config.update.schedule.total_steps = total_steps;
        train(&mut policy, &mut scoring, &mut loader, &config, &validator, &run, &mut log)?;
        assert_eq!(policy.state.progress.step, total_steps);
        weights.push(flat_parameters(&policy)?);
        tokens.push(log.state.n_tokens);
    }
    let changes: Vec<bool> = weights.windows(2).map(|pair| pair[0] != pair[1]).collect();
    assert_eq!(changes, [true, false, true, true]);
    assert!(tokens.is_sorted_by(|a, b| a < b), "its completions were sampled: {tokens:?}");
    let rows = std::fs::read_to_string(out.join("metrics.jsonl"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let steps = |is_of_kind: fn(&Value) -> bool| -> Vec<u64> {
        rows.iter().filter(|row| is_of_kind(row)).filter_map(|row| row["step"].as_u64()).collect()
    };
    assert_eq!(steps(|row| row["reward_mean"].is_number()), [1, 3, 4], "{rows:?}");
    let is_skip = |row: &Value| row["alarm"].as_str().is_some_and(|text| text.contains("skipped"));
    assert_eq!(steps(is_skip), [2], "{rows:?}");
    Ok(())
}

#[test]
fn a_step_with_only_masked_completions_does_not_move_the_policy() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(1, &chat_tokenizer);
    config.advantage.overlong = OverlongHandling::Masked;
    (config.objective.kl, config.reference_update) = (None, None);
    let mut prompts = prompt_examples(&chat_tokenizer)?;
    let mut policy = new_policy(&chat_tokenizer, None)?;
    let mut after = |config: &GrpoConfig, prompts: &[PromptExample]| -> Result<_> {
        let reward_fn = &mut *rule_reward_fn(lowercase_fraction);
        train_policy(&mut policy, prompts, config, reward_fn, 0, None, &Run::default())?;
        Ok((flat_parameters(&policy)?, policy.progress.clone()))
    };
    let (moved, progress) = after(&config, &prompts)?; // the optimizer has momentum now
    assert_eq!(progress.zero_advantage_steps, 0);
    config.update.schedule.total_steps = 3;
    config.rollout.stop_token_ids = vec![u32::MAX]; // never sampled
    prompts.truncate(2);
    let (unmoved, progress) = after(&config, &prompts)?;
    assert_eq!(progress.zero_advantage_steps, 2);
    assert!(
        progress.recent_steps[1..]
            .iter()
            .all(|step| step.frac_groups_zero_advantage == 1. && step.reward_std > 0.)
    );
    assert!(moved == unmoved, "rewards differ, but all completions are masked");
    Ok(())
}
