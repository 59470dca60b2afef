//! 8.5 in bf16: rollouts and updates compute with the same rounded weights; masters and the value
//! head are f32.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use candle_core::{DType, Module, Tensor};
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, RunLogConfig};
use modern::{GptModern, GradientCheckpointing};
use ranks::{Ranks, in_threads};
use serde_json::Value;
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::CPU;
use super::small_run::{
    actor_critic, actor_critic_in, bits, chat_tokenizer, config, experience_of, letters, run,
    run_with_log,
};
use crate::alarms::ratio_tolerance;
use crate::reference::create_reference_model;
use crate::step::update;
use crate::{ActorCritic, CriticBackbone, PpoUpdateMetrics};

const BACKBONES: [CriticBackbone; 2] = [CriticBackbone::Shared, CriticBackbone::Separate];

fn in_bf16(backbone: CriticBackbone, steps: usize) -> Result<ActorCritic> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(steps, chat_tokenizer.eos_token_id());
    actor_critic_in(DType::BF16, &chat_tokenizer, backbone, &config)
}

/// Metrics of an update of one minibatch on experience of the policy in f32.
fn first_update(
    dtype: DType,
    backbone: CriticBackbone,
    gradient_checkpointing: GradientCheckpointing,
) -> Result<PpoUpdateMetrics> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(1, chat_tokenizer.eos_token_id());
    (config.update.ppo_epochs, config.update.n_minibatches) = (1, 1);
    let mut sampler = actor_critic(&chat_tokenizer, backbone, &config)?;
    let experience = experience_of(&mut sampler, &chat_tokenizer, &config)?;
    let mut trained = actor_critic_in(dtype, &chat_tokenizer, backbone, &config)?;
    trained.gradient_checkpointing = gradient_checkpointing;
    let mut models = trained.models()?;
    update(&mut trained, &mut models, &experience, &config, 1e-3, None, &mut Rng::new(2))
}

fn assert_near(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs(), "{a} {b}");
}

#[test]
fn an_update_in_bf16_has_the_losses_of_f32() -> Result<()> {
    for backbone in BACKBONES {
        let off = GradientCheckpointing::Off;
        let full = first_update(DType::F32, backbone, off)?;
        let half = first_update(DType::BF16, backbone, off)?;
        assert!(half.entropy != full.entropy, "{backbone:?}: it computes in f32");
        assert_near(half.entropy, full.entropy, 1e-2);
        assert_near(half.value_loss, full.value_loss, 1e-2);
        assert_close(half.policy_loss, full.policy_loss, 1e-2); // near 0 where ratios are 1
        assert_near(half.grad_norm, full.grad_norm, 0.1);
        assert_near(half.critic_grad_norm, full.critic_grad_norm, 0.1);
    }
    Ok(())
}

#[test]
fn gradient_checkpointing_in_bf16_gives_the_gradients_of_stored_activations() -> Result<()> {
    for backbone in BACKBONES {
        let stored = first_update(DType::BF16, backbone, GradientCheckpointing::Off)?;
        let recomputed = first_update(DType::BF16, backbone, GradientCheckpointing::On)?;
        assert_near(recomputed.entropy, stored.entropy, 1e-6);
        assert_near(recomputed.grad_norm, stored.grad_norm, 0.05);
        assert_near(recomputed.critic_grad_norm, stored.critic_grad_norm, 0.05);
    }
    Ok(())
}

#[test]
fn first_ratios_in_bf16_are_within_the_tolerance_of_the_alarm_at_every_step() -> Result<()> {
    let config = config(6, chat_tokenizer()?.eos_token_id());
    for backbone in BACKBONES {
        let (folder, mut policy) = (tempfile::tempdir()?, in_bf16(backbone, 6)?);
        let (before, critic_before) = (bits(&policy.policy)?, bits(&policy.critic)?);
        let log_config = RunLogConfig::rewards(6, 1, 1);
        let mut log = RunLog::create(log_config, folder.path(), &Value::Null)?;
        let (mut reward_fn, this_run) = (letters(), Run::default());
        run_with_log(&mut policy, &mut *reward_fn, &config, &this_run, true, None, &mut log)?;
        let text = std::fs::read_to_string(folder.path().join("metrics.jsonl"))?;
        let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let errors: Vec<f64> =
            rows.iter().filter_map(|row| row["first_ratio_error"].as_f64()).collect();
        assert_eq!(errors.len(), 6, "{text}");
        let tolerance = ratio_tolerance(DType::BF16);
        assert!(errors.iter().all(|error| *error < tolerance), "{backbone:?}: {errors:?}");
        for (before, after) in [(before, &policy.policy), (critic_before, &policy.critic)] {
            for (before, parameter) in before.iter().zip(after.parameters.iter()) {
                assert_eq!(parameter.var.dtype(), DType::F32, "{}", parameter.name);
                let after: Vec<f32> = parameter.var.flatten_all()?.to_vec1()?;
                assert!(*before != after, "{} was not trained", parameter.name);
            }
        }
    }
    Ok(())
}

#[test]
fn between_minibatches_only_the_models_for_training_are_built_again() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    let logits = |model: &GptModern| model.forward(&ids)?.to_dtype(DType::F32);
    for backbone in BACKBONES {
        let mut trained = actor_critic_in(DType::F16, &chat_tokenizer, backbone, &config)?;
        let experience = experience_of(&mut trained, &chat_tokenizer, &config)?;
        let mut models = trained.models()?;
        let before = logits(&models.rollout_policy)?;
        update(&mut trained, &mut models, &experience, &config, 1e-2, None, &mut Rng::new(2))?;
        assert_close(logits(&models.rollout_policy)?, &before, 0.);
        models.refresh_for_rollouts(&trained.policy.parameters, &trained.critic.parameters)?;
        let new = logits(&models.policy)?;
        assert_close(logits(&models.rollout_policy)?, &new, 0.);
        assert!((new - before)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3);
    }
    Ok(())
}

#[test]
fn the_reference_of_a_policy_in_bf16_is_its_copy_in_bf16() -> Result<()> {
    let mut policy = in_bf16(CriticBackbone::Shared, 1)?;
    let reference = create_reference_model(&policy.config, &policy.policy.parameters)?;
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    let expected = policy.models()?.rollout_policy.forward(&ids)?;
    assert_close(reference.forward(&ids)?, &expected, 0.);
    let in_f32 = policy.policy.parameters.with_compute_dtype(DType::F32).for_inference();
    let in_f32 = GptModern::new(&policy.config, { in_f32 }.root())?.forward(&ids)?;
    assert!((in_f32 - expected)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.);
    Ok(())
}

#[test]
fn a_run_in_bf16_resumes_bit_for_bit() -> Result<()> {
    let config = config(4, chat_tokenizer()?.eos_token_id());
    for backbone in BACKBONES {
        let mut whole = in_bf16(backbone, 4)?;
        run(&mut whole, &mut *letters(), &config, &Run::default(), true, None)?;
        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let mut last = None;
        for stop_after in [2, 4] {
            let mut piece = in_bf16(backbone, 4)?;
            if let Some((_, path)) = checkpoints.latest()? {
                piece.restore(&path, "these")?;
            }
            let this_run = Run {
                checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
                stop_after: Some(stop_after),
                ..Run::default()
            };
            run(&mut piece, &mut *letters(), &config, &this_run, true, None)?;
            last = Some(piece);
        }
        let last = last.context("a run")?;
        assert!(bits(&whole.policy)? == bits(&last.policy)?, "{backbone:?}");
        assert!(bits(&whole.critic)? == bits(&last.critic)?, "{backbone:?}");
    }
    Ok(())
}

#[test]
fn ranks_in_bf16_stay_equal() -> Result<()> {
    let train_on = |ranks: Ranks| -> Result<Vec<Vec<f32>>> {
        let config = config(2, chat_tokenizer()?.eos_token_id());
        let mut policy = in_bf16(CriticBackbone::Separate, 2)?;
        let this_run = Run { ranks, ..Run::default() };
        run(&mut policy, &mut *letters(), &config, &this_run, false, None)?;
        Ok([bits(&policy.policy)?, bits(&policy.critic)?].concat())
    };
    let weights = in_threads(2, train_on).into_iter().collect::<Result<Vec<_>>>()?;
    assert!(weights[0] == weights[1]);
    Ok(())
}
