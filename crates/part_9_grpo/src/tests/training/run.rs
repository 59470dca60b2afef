//! A run: the model that it keeps, its end, its checkpoint.

use std::num::NonZeroUsize;

use anyhow::Result;
use experiment::{Checkpoints, Run, RunCheckpoints};
use model_io::model_folder::SpecialTokenIds;
use ppo::{RewardFn, RewardInput, reward_fn};
use sft::ModelSaver;
use tensor_core::testing::assert_close;
use tensor_core::{Rng, weights};

use super::{
    chat_tokenizer, flat_parameters, grpo_config, lowercase_fraction, model_config, new_policy,
    prompt_examples, scripted_reward_fn, train_new, train_policy,
};
use crate::weighted_rewards::rule_reward_fn;
use crate::{GrpoProgress, Policy};

#[test]
fn the_model_with_the_best_validation_is_saved() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(2, &chat_tokenizer);
    (config.objective.kl, config.reference_update) = (None, None);
    let mut saved_models = Vec::new();
    let rewards = [[0.2, 0.9, 0.1], [0.2, 0.1, 0.9], [0.9, 0.2, 0.1], [0.9, 0.2, 0.2]];
    for (rewards, expected) in rewards.into_iter().zip([0.9, 0.9, 0.2, 0.2]) {
        let folder = tempfile::tempdir()?;
        let model_saver = ModelSaver {
            folder: folder.path().into(),
            config: model_config(&chat_tokenizer),
            chat_tokenizer: super::chat_tokenizer()?,
            special_ids: SpecialTokenIds::default(),
            sampler: None,
            lora: None,
            base: String::new(),
        };
        let mut scripted = scripted_reward_fn(rewards);
        let mut random = reward_fn::random_reward_fn();
        let mut calls = 0;
        let mut both: Box<RewardFn> = Box::new(move |inputs, rng| {
            calls += 1;
            let rewards = scripted(inputs, rng)?;
            if calls % 2 == 1 { Ok(rewards) } else { random(inputs, rng) }
        });
        let (mut policy, prompts) =
            (new_policy(&chat_tokenizer, None)?, prompt_examples(&chat_tokenizer)?);
        let (saver, run) = (Some(&model_saver), Run::default());
        train_policy(&mut policy, &prompts, &config, &mut *both, 1, saver, &run)?;
        let best = policy.state.progress.selection.best.map(|best| best.score);
        let best = best.expect("a validation after a step").value();
        assert_close(best, expected, 1e-6);
        let saved = weights::load(&folder.path().join("model/model.safetensors"))?;
        let mut numbers = Vec::new();
        for tensor in saved.values() {
            numbers.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        saved_models.push(numbers);
    }
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| &saved_models[i]);
    assert!(a != b, "models of different steps");
    assert!(a == c, "the start is not kept, although it was better");
    assert!(b == d, "of two equally good models the last is kept");
    Ok(())
}

#[test]
fn zero_advantage_steps_and_tokens_are_counted_and_limit_the_run() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(5, &chat_tokenizer);
    let (policy, n_tokens) = train_new(&config, &mut *rule_reward_fn(|_| 0.5))?;
    let tokens_of = policy.progress.recent_steps.iter().map(|step| step.length_mean * 36.);
    let tokens_of: Vec<usize> = tokens_of.map(|n| n.round() as usize).collect();
    assert_eq!(tokens_of.iter().sum::<usize>(), n_tokens);
    assert_eq!((policy.progress.zero_advantage_steps, tokens_of.len()), (5, 5));
    config.update.max_sampled_tokens = Some(tokens_of[0] + 1);
    let (policy, _) = train_new(&config, &mut *rule_reward_fn(lowercase_fraction))?;
    assert_eq!((policy.state.progress.step, policy.progress.zero_advantage_steps), (2, 0));
    Ok(())
}

#[test]
fn a_run_with_nothing_left_to_learn_is_solved_also_across_a_resume() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let (config, prompts) = (grpo_config(14, &chat_tokenizer), prompt_examples(&chat_tokenizer)?);
    let trained = |reward: f64, stop_when_solved, pieces: &[Option<usize>]| -> Result<Policy> {
        let folder = tempfile::tempdir()?;
        let mut policy = new_policy(&chat_tokenizer, config.reference_update)?;
        for &stop_after in pieces {
            let checkpoints =
                Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
            policy = new_policy(&chat_tokenizer, config.reference_update)?;
            if let Some((_, path)) = checkpoints.latest()? {
                policy.restore(&path, "these")?;
            }
            let checkpoints = Some(RunCheckpoints::at_end(folder.path(), "these"));
            let run = Run { checkpoints, stop_after, stop_when_solved, ..Run::default() };
            let mut equal =
                move |inputs: &[RewardInput<'_>], _: &mut Rng| Ok(vec![reward; inputs.len()]);
            train_policy(&mut policy, &prompts, &config, &mut equal, 0, None, &run)?;
        }
        Ok(policy)
    };
    let whole = trained(1., Some(5), &[None])?;
    assert_eq!(whole.state.progress.step, 9, "36 completions per step: 9 steps have 300");
    assert!(whole.state.progress.is_best(), "the last step is validated");
    let resumed = trained(1., Some(5), &[Some(4), None, None])?;
    assert_eq!(resumed.state.progress, whole.state.progress);
    assert_eq!(flat_parameters(&resumed)?, flat_parameters(&whole)?);
    for (reward, stop_when_solved) in [(1., None), (0., Some(5))] {
        let policy = trained(reward, stop_when_solved, &[None])?;
        assert_eq!(policy.state.progress.step, 14, "{reward} {stop_when_solved:?}");
    }
    Ok(())
}

#[test]
fn a_checkpoint_restores_the_progress_and_refuses_other_inputs() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = grpo_config(2, &chat_tokenizer);
    let (policy, _) = train_new(&config, &mut *rule_reward_fn(lowercase_fraction))?;
    let folder = tempfile::tempdir()?;
    policy.save(folder.path(), "these", None)?;
    let mut restored = new_policy(&chat_tokenizer, config.reference_update)?;
    restored.restore(folder.path(), "these")?;
    let timings = restored.progress.timings;
    assert_eq!(timings.total(), 0., "the time is that of this process");
    let progress = GrpoProgress { timings, ..policy.progress.clone() };
    assert_eq!(restored.progress, progress);
    assert_eq!(flat_parameters(&restored)?, flat_parameters(&policy)?);
    assert!(restored.restore(folder.path(), "other data").is_err());
    restored.progress.run_inputs.reward_fn = "another".into();
    assert!(restored.restore(folder.path(), "these").is_err());
    Ok(())
}
