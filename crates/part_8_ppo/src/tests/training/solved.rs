//! Completions that all get the same reward: a run with the highest one is solved and ends.

use std::num::NonZeroUsize;

use anyhow::Result;
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, RunLogConfig};
use serde_json::{Value, json};

use crate::rewards::TruncationHandling;
use crate::tests::small_run::{actor_critic, bits, chat_tokenizer, config, run, run_with_log};
use crate::{ActorCritic, CriticBackbone, RewardFn, RewardShapingConfig};

/// Every completion gets `reward`.
fn equal_rewards(reward: f64) -> Box<RewardFn> {
    Box::new(move |inputs, _| Ok(vec![reward; inputs.len()]))
}

#[test]
fn a_run_with_nothing_left_to_learn_is_solved_also_across_a_resume() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(30, chat_tokenizer.eos_token_id());
    let trained = |stop_when_solved, pieces: &[Option<usize>]| -> Result<ActorCritic> {
        let folder = tempfile::tempdir()?;
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        for &stop_after in pieces {
            let checkpoints =
                Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
            actor_critic = self::actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
            if let Some((_, path)) = checkpoints.latest()? {
                actor_critic.restore(&path, "these")?;
            }
            let checkpoints = Some(RunCheckpoints::at_end(folder.path(), "these"));
            let this = Run { checkpoints, stop_after, stop_when_solved, ..Run::default() };
            run(&mut actor_critic, &mut *equal_rewards(1.), &config, &this, false, None)?;
        }
        Ok(actor_critic)
    };
    let whole = trained(Some(5), &[None])?;
    assert_eq!(whole.policy.progress.step, 19, "16 completions per step: 19 steps have 300");
    assert!(whole.policy.progress.is_best(), "the last step is validated");
    let resumed = trained(Some(5), &[Some(7), None, None])?;
    assert_eq!(resumed.policy.progress, whole.policy.progress);
    assert_eq!(bits(&resumed.policy)?, bits(&whole.policy)?);
    assert_eq!(trained(None, &[None])?.policy.progress.step, 30, "--stop-when-solved 0");
    Ok(())
}

#[test]
fn rewards_that_are_equal_at_the_bottom_end_no_run_and_raise_an_alarm_at_steps_1_5_and_25()
-> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(26, chat_tokenizer.eos_token_id());
    let folder = tempfile::tempdir()?;
    let log = RunLogConfig::rewards(26, 1, 26);
    let mut log = RunLog::create(log, &folder.path().join("run"), &json!({}))?;
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let run = Run { stop_when_solved: Some(5), ..Run::default() };
    let reward_fn = &mut *equal_rewards(0.);
    run_with_log(&mut actor_critic, reward_fn, &config, &run, false, None, &mut log)?;
    assert_eq!(actor_critic.policy.progress.step, 26);
    let rows = std::fs::read_to_string(folder.path().join("run/metrics.jsonl"))?;
    let alarms: Vec<&str> = rows.lines().filter(|row| row.contains("got the reward 0")).collect();
    assert_eq!(alarms.len(), 3, "{rows}");
    for (row, step) in alarms.iter().zip([1, 5, 25]) {
        assert!(row.contains(&format!("step {step}: all {} completions", 16 * step)), "{row}");
    }
    Ok(())
}

#[test]
fn a_run_that_is_over_early_has_a_row_of_its_last_step() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(30, chat_tokenizer.eos_token_id());
    let rows_with = |stop_after| -> Result<Vec<u64>> {
        let folder = tempfile::tempdir()?;
        let log = RunLogConfig::rewards(30, 1, 7);
        let mut log = RunLog::create(log, &folder.path().join("run"), &json!({}))?;
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        let run = Run { stop_when_solved: Some(5), stop_after, ..Run::default() };
        let reward_fn = &mut *equal_rewards(1.);
        run_with_log(&mut actor_critic, reward_fn, &config, &run, false, None, &mut log)?;
        let rows = std::fs::read_to_string(folder.path().join("run/metrics.jsonl"))?;
        let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let rows = rows.iter().filter(|row| row["policy_loss"].is_number());
        Ok(rows
            .filter_map(|row| row["step_time_s"].is_number().then(|| row["step"].as_u64())?)
            .collect())
    };
    assert_eq!(rows_with(None)?, [7, 14, 19]);
    assert_eq!(rows_with(Some(9))?, [7], "a stopped run goes on later");
    Ok(())
}

#[test]
fn a_truncated_completion_with_a_bootstrap_value_solves_nothing() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let solved = |truncation, missing_eos_penalty| -> Result<bool> {
        let mut config = config(22, u32::MAX); // no completion terminates
        config.reward_shaping =
            RewardShapingConfig { truncation, missing_eos_penalty, ..config.reward_shaping };
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        let this = Run { stop_when_solved: Some(5), ..Run::default() };
        run(&mut actor_critic, &mut *equal_rewards(1.), &config, &this, false, None)?;
        Ok(actor_critic.policy.progress.step < 22)
    };
    assert!(solved(TruncationHandling::Terminal, 0.)?);
    assert!(!solved(TruncationHandling::Terminal, 0.5)?, "the penalty is still to be avoided");
    assert!(!solved(TruncationHandling::Bootstrap, 0.)?);
    Ok(())
}
