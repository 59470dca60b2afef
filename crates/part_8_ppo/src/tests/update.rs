//! 8.5: epochs, minibatches and micro-batches of the update.

use anyhow::{Context, Result};
use ranks::Ranks;
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::small_run::ending;
use super::small_run::{
    actor_critic, bits, chat_tokenizer, config, experience_of, prompt_examples,
};
use crate::RolloutGroup;
use crate::losses::LossWeights;
use crate::step::update;
use crate::{CriticBackbone, PpoConfig, PpoUpdateConfig, PtxLoss};
use tensor_core::{AdamW, AdamWConfig};

/// The run's configuration with `update`, and the same learning rate for policy and critic.
fn with_update(update: PpoUpdateConfig, config: &PpoConfig) -> PpoConfig {
    PpoConfig { update, critic_lr_multiplier: 1., ..config.clone() }
}

#[test]
fn ratios_are_1_in_the_first_minibatch_only() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(1, chat_tokenizer.eos_token_id());
    config.rollout.sampler =
        modern::Sampler::new(modern::SamplingStrategy::new(0.7, Some(20), Some(0.9), None));
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    let mut models = actor_critic.models()?;
    let single = PpoUpdateConfig { ppo_epochs: 1, n_minibatches: 1, ..config.update };
    let mut again = || -> Result<crate::PpoUpdateMetrics> {
        let (single, rng) = (with_update(single, &config), &mut Rng::new(2));
        update(&mut actor_critic, &mut models, &experience, &single, 2e-2, None, rng)
    };
    let first = again()?;
    assert!(first.first_ratio_error < 1e-4, "{}", first.first_ratio_error);
    assert_eq!((first.clip_fraction, first.updates), (0., 1));
    let second = again()?;
    assert!(second.first_ratio_error > 1e-2 && second.clip_fraction > 0., "{second:?}");
    // The update stops once the KL exceeds early_stop_kl.
    let bounded = PpoUpdateConfig {
        ppo_epochs: 50,
        n_minibatches: 1,
        early_stop_kl: Some(0.05),
        ..config.update
    };
    let (bounded, rng) = (with_update(bounded, &config), &mut Rng::new(2));
    let found = update(&mut actor_critic, &mut models, &experience, &bounded, 1e-2, None, rng)?;
    assert!(found.updates < 50 && found.approx_kl > 0.05, "{found:?}");
    Ok(())
}

#[test]
fn micro_batches_add_up_to_their_minibatch() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let mut reached = Vec::new();
    for accumulate in [1, 3] {
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Separate, &config)?;
        let experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        let mut models = actor_critic.models()?;
        let parts =
            PpoUpdateConfig { n_minibatches: 1, grad_accum_steps: accumulate, ..config.update };
        let (parts, rng) = (with_update(parts, &config), &mut Rng::new(2));
        let found = update(&mut actor_critic, &mut models, &experience, &parts, 1e-3, None, rng)?;
        reached.push((found, bits(&actor_critic.policy)?, bits(&actor_critic.critic)?));
    }
    let [(a, policy_a, critic_a), (b, policy_b, critic_b)] = &reached[..] else { unreachable!() };
    for (a, b) in
        [(a.policy_loss, b.policy_loss), (a.value_loss, b.value_loss), (a.entropy, b.entropy)]
    {
        assert_close(a, b, 1e-5);
    }
    let near = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-4)
    };
    assert!(near(policy_a, policy_b) && near(critic_a, critic_b));
    Ok(())
}

#[test]
fn minibatches_are_shuffled_and_equally_large() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let mut reached = Vec::new();
    for seed in [1, 2] {
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        let experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        let mut models = actor_critic.models()?;
        // 6 groups in 4 minibatches.
        let uneven = PpoUpdateConfig { ppo_epochs: 1, n_minibatches: 4, ..config.update };
        let (uneven, rng) = (with_update(uneven, &config), &mut Rng::new(seed));
        let found = update(&mut actor_critic, &mut models, &experience, &uneven, 1e-2, None, rng)?;
        assert_eq!(found.updates, 4);
        reached.push(bits(&actor_critic.policy)?);
    }
    assert_ne!(reached[0], reached[1]);
    Ok(())
}

#[test]
fn the_ptx_loss_trains_on_its_examples() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let mut experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    experience.advantages = experience.advantages.zeros_like()?; // only the PTX loss has a gradient
    let models = actor_critic.models()?;
    let examples: Vec<datasets::Example> =
        prompt_examples(&chat_tokenizer)?.into_iter().map(|prompt| prompt.example).collect();
    let examples = sft::tokenize(&examples, &chat_tokenizer, 24)?.examples;
    let mut mix = PtxLoss::new(examples, 0.5, 6, 3);
    let loss = |mix: &mut PtxLoss| -> Result<f32> {
        let loss = mix.loss(&models.policy, &Ranks::Alone)?.context("examples")?;
        Ok(loss.detach().to_scalar::<f32>()?)
    };
    let before = loss(&mut mix)?;
    let update_config = PpoUpdateConfig {
        loss_weights: LossWeights { value_coef: 0., entropy_coef: 0. },
        ..config.update
    };
    let (config, rng) = (with_update(update_config, &config), &mut Rng::new(2));
    let updated = &mut models.clone();
    update(&mut actor_critic, updated, &experience, &config, 1e-2, Some(&mut mix), rng)?;
    let after = loss(&mut mix)?;
    assert!(after < before - 0.05, "{before} {after}");
    Ok(())
}

/// With ε = 1, a step is about as long as the gradient, so that a wrong weight of a micro-batch
/// shows in it.
#[test]
fn micro_batches_of_unequal_length_add_up_to_their_minibatch() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = ending(1);
    let optimizer = AdamWConfig { eps: 1., weight_decay: 0., ..AdamWConfig::default() };
    let mut reached = Vec::new();
    for grad_accum_steps in [1, 2, 3] {
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Separate, &config)?;
        for state in [&mut actor_critic.policy, &mut actor_critic.critic] {
            state.optimizer = AdamW::new(&state.parameters, optimizer)?.into();
        }
        let experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        let counts: Vec<usize> = experience.groups.iter().map(RolloutGroup::n_tokens).collect();
        assert!(counts.iter().any(|n| *n != counts[0]), "lengths must differ: {counts:?}");
        let mut models = actor_critic.models()?;
        let parts = PpoUpdateConfig {
            ppo_epochs: 1,
            n_minibatches: 1,
            grad_accum_steps,
            loss_weights: LossWeights { value_coef: 0.5, entropy_coef: 0.1 },
            max_grad_norm: f64::MAX,
            ..config.update
        };
        let (parts, rng) = (with_update(parts, &config), &mut Rng::new(2));
        let before = bits(&actor_critic.policy)?.concat();
        update(&mut actor_critic, &mut models, &experience, &parts, 1., None, rng)?;
        let (policy, critic) = (bits(&actor_critic.policy)?, bits(&actor_critic.critic)?);
        let moved = policy.iter().flatten().zip(&before).any(|(a, b)| (a - b).abs() > 1e-3);
        assert!(moved, "a step too small to compare");
        reached.push([policy, critic].concat().concat());
    }
    assert_close(&reached[1], &reached[0], 1e-5);
    assert_close(&reached[2], &reached[0], 1e-5);
    Ok(())
}
