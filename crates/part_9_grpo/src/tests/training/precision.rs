//! GRPO in bf16: the sampler and the loss compute with the same rounded weights, masters in f32.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, RunLogConfig, TrainState};
use modern::{GptModern, GradientCheckpointing};
use ppo::prompts::prompt_ids;
use ppo::{ScoredRollouts, Scoring, rollout};
use ranks::{Ranks, in_threads};
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{AdamWConfig, Parameters, Rng, clip_grad_norm};

use super::{
    CPU, chat_tokenizer, flat_parameters, grpo_config, lowercase_fraction, model_config,
    prompt_examples, train_policy,
};
use crate::step::{gradients, grpo_step};
use crate::weighted_rewards::rule_reward_fn;
use crate::{GrpoConfig, GrpoExperience, KlLoss, Policy, ReferenceUpdate};

/// Mean difference between sampler and loss, in nats per token, that has no alarm.
const MAX_SAMPLER_DIFF: f64 = 0.02;

fn policy_in(dtype: DType, reference_update: Option<ReferenceUpdate>) -> Result<Policy> {
    let config = model_config(&chat_tokenizer()?);
    let mut parameters = Parameters::seeded(5, DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
    let state = TrainState::new(parameters, optimizer)?.with_compute_dtype(dtype)?;
    Policy::new(&config, state, reference_update)
}

fn config_with(steps: usize, reference_update: Option<ReferenceUpdate>) -> Result<GrpoConfig> {
    let mut config = grpo_config(steps, &chat_tokenizer()?);
    config.update.num_iterations = 2;
    config.objective.kl = reference_update.map(|_| (KlLoss::default(), 0.1));
    config.reference_update = reference_update;
    Ok(config)
}

fn train_in(policy: &mut Policy, config: &GrpoConfig, run: &Run) -> Result<()> {
    let prompts = prompt_examples(&chat_tokenizer()?)?;
    let mut reward_fn = rule_reward_fn(lowercase_fraction);
    train_policy(policy, &prompts, config, &mut *reward_fn, 0, None, run)?;
    Ok(())
}

/// Loss and gradient norm of `policy` on completions that the initial policy samples in f32.
fn first_loss(policy: &Policy) -> Result<(f64, f64)> {
    let (chat_tokenizer, config) = (chat_tokenizer()?, config_with(1, None)?);
    let (prompts, rng) = (prompt_examples(&chat_tokenizer)?, &mut Rng::new(1));
    let (sampler, ids) = (policy_in(DType::F32, None)?, prompt_ids(&prompts));
    let groups = rollout(&sampler.models.inference, &ids, &config.rollout, rng)?;
    let mut reward_fn = rule_reward_fn(lowercase_fraction);
    let rollouts = ScoredRollouts::new(groups, &prompts, &chat_tokenizer, &mut *reward_fn, rng)?;
    let (rollout, advantage) = (&config.rollout, &config.advantage);
    let experience = GrpoExperience::from_rollouts(rollouts, rollout, advantage, 0.)?;
    let (objective, model) = (&config.objective, &policy.models.inference);
    let micro_batches = experience.micro_batches(objective, model, None, 6)?;
    let parameters = &policy.state.parameters;
    let (part, _) = gradients(&policy.models.training, parameters, &micro_batches, objective)?;
    let (loss, mut grads) = part.sum(&Ranks::Alone, &[parameters])?;
    assert_gradients_flow(parameters, &grads)?;
    Ok((loss, clip_grad_norm(&mut grads, parameters, f64::MAX)?))
}

#[test]
fn the_model_for_rollouts_is_built_again_when_it_is_used_not_in_every_iteration() -> Result<()> {
    let (chat_tokenizer, config) = (&chat_tokenizer()?, config_with(1, None)?);
    let mut policy = policy_in(DType::F16, None)?; // with copies of the weights
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    let logits = |model: &GptModern| model.forward(&ids)?.to_dtype(DType::F32);
    let before = logits(&policy.models.inference)?;
    let mut reward_fn = rule_reward_fn(lowercase_fraction);
    let mut scoring = Scoring::from_fn(chat_tokenizer, &mut *reward_fn, Some(1.));
    let mut log = RunLog::new(RunLogConfig::rewards(1000, 1, 1000), 0)?;
    let prompts = prompt_examples(chat_tokenizer)?;
    grpo_step(&mut policy, &mut scoring, &prompts, &config, &mut log)?;
    assert_close(logits(&policy.models.inference)?, &before, 0.);
    policy.models.refresh_inference(&policy.state.parameters)?;
    let new = logits(&policy.models.training)?;
    assert_close(logits(&policy.models.inference)?, &new, 0.);
    assert!((new - before)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3);
    Ok(())
}

#[test]
fn a_step_in_bf16_has_the_loss_and_the_gradient_norm_of_f32() -> Result<()> {
    let (full, full_norm) = first_loss(&policy_in(DType::F32, None)?)?;
    let (half, half_norm) = first_loss(&policy_in(DType::BF16, None)?)?;
    assert!(half_norm != full_norm, "it computes in f32");
    assert_close(half, full, 1e-2); // near 0 where ratios are 1
    assert!((half_norm - full_norm).abs() < 0.1 * full_norm, "{half_norm} {full_norm}");
    Ok(())
}

#[test]
fn gradient_checkpointing_in_bf16_gives_the_gradients_of_stored_activations() -> Result<()> {
    let policy = policy_in(DType::BF16, None)?;
    let (stored, stored_norm) = first_loss(&policy)?;
    let policy = policy.with_gradient_checkpointing(GradientCheckpointing::On);
    let (loss, norm) = first_loss(&policy)?;
    assert_close(loss, stored, 1e-6);
    assert!((norm - stored_norm).abs() < 0.05 * stored_norm, "{norm} {stored_norm}");
    Ok(())
}

#[test]
fn sampler_and_loss_agree_in_bf16_before_the_first_update_of_every_step() -> Result<()> {
    for reference in [None, Some(ReferenceUpdate::Fixed), Some(ReferenceUpdate::SyncEvery(2))] {
        let mut policy = policy_in(DType::BF16, reference)?;
        let before = flat_parameters(&policy)?;
        if let Some(reference) = &policy.reference {
            let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
            let expected = policy.models.inference.forward(&ids)?;
            assert_close(reference.model.forward(&ids)?, expected, 0.);
        }
        train_in(&mut policy, &config_with(6, reference)?, &Run::default())?;
        let updates = policy.progress.recent_steps.iter().filter_map(|step| step.update);
        let diffs: Vec<f64> = updates.map(|update| update.sampler_log_prob_diff).collect();
        assert!(diffs.len() > 3, "{diffs:?}");
        assert!(diffs.iter().all(|diff| *diff < MAX_SAMPLER_DIFF), "{reference:?}: {diffs:?}");
        assert_ne!(flat_parameters(&policy)?, before);
        assert!(policy.state.parameters.iter().all(|p| p.var.dtype() == DType::F32));
    }
    Ok(())
}

#[test]
fn a_run_in_bf16_resumes_bit_for_bit() -> Result<()> {
    let reference = Some(ReferenceUpdate::SyncEvery(2));
    let config = config_with(5, reference)?;
    let mut whole = policy_in(DType::BF16, reference)?;
    train_in(&mut whole, &config, &Run::default())?;
    let folder = tempfile::tempdir()?;
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
    let mut last = None;
    for stop_after in [3, 5] {
        let mut piece = policy_in(DType::BF16, reference)?;
        if let Some((_, path)) = checkpoints.latest()? {
            piece.restore(&path, "these")?;
        }
        let run = Run {
            checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
            stop_after: Some(stop_after),
            ..Run::default()
        };
        train_in(&mut piece, &config, &run)?;
        last = Some(flat_parameters(&piece)?);
    }
    assert!(last == Some(flat_parameters(&whole)?));
    Ok(())
}

#[test]
fn ranks_in_bf16_stay_equal() -> Result<()> {
    let train_on = |ranks: Ranks| -> Result<Vec<f32>> {
        let mut policy = policy_in(DType::BF16, None)?;
        train_in(&mut policy, &config_with(3, None)?, &Run { ranks, ..Run::default() })?;
        flat_parameters(&policy)
    };
    let weights = in_threads(2, train_on).into_iter().collect::<Result<Vec<_>>>()?;
    assert!(weights[0] == weights[1]);
    Ok(())
}
