//! Rewards that are not finite: the step is skipped, the validation ignored.

use anyhow::Result;
use experiment::{Run, RunLog, RunLogConfig};
use scaling::LrSchedule;
use serde_json::{Value, json};

use crate::tests::small_run::{
    actor_critic, bits, chat_tokenizer, config, letters, run, run_with_log,
};
use crate::{CriticBackbone, PpoConfig, RewardFn};

/// Reward of letters, but NaN in the call number `bad_call`, counted from 1.
fn nan_once(bad_call: usize) -> Box<RewardFn> {
    let (mut good, mut calls) = (letters(), 0);
    Box::new(move |inputs, rng| {
        calls += 1;
        let mut rewards = good(inputs, rng)?;
        if calls == bad_call {
            rewards[0] = f64::NAN;
        }
        Ok(rewards)
    })
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
    let said = crate::reward_fn::non_finite_message(&[1., f64::NAN], &["a".into(), "b".into()]);
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
fn a_skipped_step_counts_raises_one_alarm_and_changes_nothing() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(4, chat_tokenizer.eos_token_id());
    let after = |bad_call, stop_after| {
        let folder = tempfile::tempdir()?;
        let log = RunLogConfig::rewards(4, 1, 1);
        let mut log = RunLog::create(log, &folder.path().join("run"), &json!({}))?;
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        let (mut reward_fn, run) =
            (nan_once(bad_call), Run { stop_after: Some(stop_after), ..Run::default() });
        run_with_log(&mut actor_critic, &mut *reward_fn, &config, &run, false, None, &mut log)?;
        let rows = std::fs::read_to_string(folder.path().join("run/metrics.jsonl"))?;
        let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        anyhow::Ok((actor_critic, rows, log.state.n_tokens))
    };
    // Calls: validation, then a step each.
    let (_, _, n_tokens) = after(usize::MAX, 1)?;
    let (two, _, _) = after(usize::MAX, 2)?;
    let (skipped, _, n_tokens_with_skip) = after(3, 2)?;
    let (one, _, _) = after(usize::MAX, 1)?;
    assert_eq!((skipped.policy.progress.step, skipped.progress.updates), (2, 4));
    for (skipped, before) in [(&skipped.policy, &one.policy), (&skipped.critic, &one.critic)] {
        assert_eq!(bits(skipped)?, bits(before)?, "the skipped step changes no weight");
    }
    assert_ne!(bits(&two.policy)?, bits(&one.policy)?);
    assert_eq!(skipped.progress.kl_coef, one.progress.kl_coef);
    assert!(n_tokens_with_skip > n_tokens, "its completions were sampled");

    let (whole, rows, n_tokens) = after(3, usize::MAX)?;
    assert_eq!((whole.policy.progress.step, whole.progress.updates), (4, 3 * 4));
    assert_ne!(bits(&whole.policy)?, bits(&one.policy)?, "training goes on");
    let steps = |is_of_kind: fn(&Value) -> bool| -> Vec<u64> {
        rows.iter().filter(|row| is_of_kind(row)).filter_map(|row| row["step"].as_u64()).collect()
    };
    assert_eq!(steps(|row| row["reward_mean"].is_number()), [1, 3, 4], "{rows:?}");
    let is_skip = |row: &Value| row["alarm"].as_str().is_some_and(|text| text.contains("skipped"));
    assert_eq!(steps(is_skip), [2], "{rows:?}");
    let last = rows.iter().filter_map(|row| row["tokens"].as_u64()).max();
    assert_eq!(last, Some(n_tokens as u64), "rows count the tokens of all steps");
    Ok(())
}

#[test]
fn a_validation_with_a_nan_reward_decides_nothing() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(60, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let mut first = nan_once(1); // the first validation
    let reached = run(&mut actor_critic, &mut *first, &config, &Run::default(), false, None)?;
    assert!(reached > Some(0.9), "{reached:?}");
    Ok(())
}
