//! 8.5: rewards, values and advantages of an experience, token by token.

use anyhow::Result;
use candle_core::{Module, Tensor};
use datasets::Example;
use model_io::SlidingWindow;
use modern::{FinishReason, Sampler, SamplingStrategy};
use ranks::Ranks;
use tensor_core::testing::assert_close;

use super::CPU;
use super::small_run::reference;
use super::small_run::{
    actor_critic, chat_tokenizer, config, ending, experience_of, letters, run, scored_rollouts,
};
use crate::gae::GaeConfig;
use crate::kl::KlController;
use crate::log_probs::log_probs;
use crate::log_probs::ref_log_probs_of_groups;
use crate::reward_fn::{decode_completion, exact_match_reward};
use crate::rewards::{RewardScaling, TruncationHandling};
use crate::{
    CriticBackbone, PpoExperience, RewardInput, RolloutGroup, SampledCompletion, ScoredRollouts,
    TokenBatch,
};

/// Return of each completion at its first token with γ = λ = 1: the sum of its rewards.
fn paid(found: &PpoExperience) -> Result<Vec<f32>> {
    Ok(found.returns.narrow(1, 0, 1)?.squeeze(1)?.to_vec1()?)
}

#[test]
fn explained_variance_is_1_for_perfect_and_0_for_constant_values() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let mut found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    assert_close(found.explained_variance()?, 0., 1e-6); // a critic of value 0 explains nothing
    found.values = found.returns.clone();
    assert_close(found.explained_variance()?, 1., 1e-6);
    Ok(())
}

#[test]
fn a_truncated_completion_gets_a_reward_or_a_bootstrap_not_both() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = ending(1);
    config.reward_shaping.gae = GaeConfig { gamma: 1., lambda: 1. };
    (config.reward_shaping.missing_eos_penalty, config.reward_shaping.reward_clip) =
        (2., Some(0.5));
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let bias = actor_critic.critic.parameters.get("value_head.bias").expect("a bias");
    bias.var.set(&Tensor::new(&[0.7f32], &CPU)?)?; // the value of every state
    for cut in [TruncationHandling::Bootstrap, TruncationHandling::Terminal] {
        config.reward_shaping.truncation = cut;
        let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        let responses: Vec<&SampledCompletion> =
            found.groups.iter().flat_map(|g| &g.completions).collect();
        for ((response, &score), paid) in responses.iter().zip(&found.rewards).zip(paid(&found)?) {
            let clipped = score.min(0.5);
            let expected = match (response.terminated(), cut) {
                (true, _) => clipped,
                (false, TruncationHandling::Bootstrap) => 0.7, // and no penalty
                (false, TruncationHandling::Terminal) => clipped - 2.,
            };
            assert_close(f64::from(paid), expected, 1e-5);
        }
        let ended = responses.iter().filter(|response| response.terminated()).count();
        assert!(ended > 0 && ended < responses.len(), "some terminate and some are truncated");
    }
    Ok(())
}

#[test]
fn rewards_are_clipped_and_then_whitened_without_a_shift_of_their_mean() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = ending(1);
    config.reward_shaping.gae = GaeConfig { gamma: 1., lambda: 1. };
    config.reward_shaping.reward_scaling = RewardScaling::Whiten;
    for bound in [f64::INFINITY, 0.5] {
        config.reward_shaping.reward_clip = Some(bound);
        let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
        let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        // The policy is its own reference, so all rewards are 0 but those of the last tokens.
        let completions = found.groups.iter().flat_map(|group| &group.completions);
        let lengths: Vec<f64> = completions.map(|c| c.tokens.len() as f64).collect();
        let last: Vec<f64> = found.rewards.iter().map(|reward| reward.min(bound)).collect();
        let n: f64 = lengths.iter().sum();
        let mean = last.iter().sum::<f64>() / n;
        let variance = last.iter().map(|x| x * x).sum::<f64>() / n - mean * mean;
        let white = |x: f64| (x - mean) / variance.sqrt() + mean;
        for ((length, last), paid) in lengths.iter().zip(last).zip(paid(&found)?) {
            assert_close(f64::from(paid), white(last) + (length - 1.) * white(0.), 1e-3);
        }
    }
    Ok(())
}

#[test]
fn a_reference_uses_its_own_sliding_window() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let (models, scored_rollouts) =
        (actor_critic.models()?, scored_rollouts(&mut actor_critic, &chat_tokenizer, &config)?);
    let mut windowed = actor_critic.config;
    windowed.attention.window = Some(SlidingWindow { size: 2, sinks: 0 }.into());
    let scores = (0..scored_rollouts.rewards.len()).map(|i| i as f64).collect();
    let scored_rollouts = ScoredRollouts { rewards: scores, ..scored_rollouts };
    let inference_model = actor_critic.policy.parameters.for_inference();
    let windowed = modern::GptModern::new(&windowed, { inference_model }.root())?;
    let found = PpoExperience::from_rollouts(
        scored_rollouts.clone(),
        &models,
        &windowed,
        &config,
        1.,
        &Ranks::Alone,
    )?;
    // Expected: each text alone, with that window.
    let mut nats = 0.;
    for RolloutGroup { prompt, completions: responses } in &scored_rollouts.groups {
        for SampledCompletion { tokens, log_probs, .. } in responses {
            let text = [&prompt[..], tokens].concat();
            let ids = Tensor::new(&text[..text.len() - 1], &CPU)?.unsqueeze(0)?;
            let logits = windowed.forward(&ids)?.squeeze(0)?; // (T, V)
            let log_probs_then = tensor_core::ops::log_softmax(&logits)?.to_vec2::<f32>()?;
            for (i, (&token, drawn)) in tokens.iter().zip(log_probs).enumerate() {
                let said = log_probs_then[prompt.len() - 1 + i][token as usize];
                nats += f64::from(drawn - said);
            }
        }
    }
    let expected = nats / found.rewards.len() as f64;
    assert_close(found.kl_per_completion, expected, 1e-4);
    assert!(expected.abs() > 1e-4, "the window matters");
    Ok(())
}

/// Special tokens that a policy could hide between the digits of a right answer.
#[test]
fn reward_functions_see_special_tokens() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let [pad, digits] = ["<pad>", "19"].map(|text| {
        chat_tokenizer.tokenizer.encode(
            text,
            model_io::AddSpecialTokens::No,
            model_io::ParseSpecial::Yes,
        )
    });
    let (pad, digits) = (pad?, digits?);
    let example = Example::new("What is 12 + 7?", "19");
    let beyond = [chat_tokenizer.tokenizer.vocab_size() as u32 + 3];
    for (inside, right) in [(&[][..], 1.), (&pad[..], 0.), (&beyond[..], 0.)] {
        let tokens =
            [&digits[..1], inside, &digits[1..], &[chat_tokenizer.eos_token_id()]].concat();
        let text = decode_completion(&tokens, FinishReason::Stop, &chat_tokenizer)?;
        let score = exact_match_reward(&RewardInput {
            example: &example,
            completion: &text,
            finish_reason: FinishReason::Stop,
        });
        assert_eq!(score, right, "{text:?}");
    }
    Ok(())
}

/// The KL coefficient rises when the KL per completion, not per token, is above its target.
#[test]
fn the_kl_coefficient_follows_the_kl_per_completion() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(1, chat_tokenizer.eos_token_id());
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    for parameter in actor_critic.policy.parameters.iter() {
        // A large KL to the reference.
        parameter.var.set(&(parameter.var.as_detached_tensor() * 4.)?)?;
    }
    let far = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    assert!(far.kl_per_completion > 1.5 * far.kl_per_token && far.kl_per_token > 0., "{far:?}");
    let target = (far.kl_per_completion * far.kl_per_token).sqrt();
    config.kl_controller = KlController::Adaptive { init_kl_coef: 0.01, target, horizon: 10. };
    run(&mut actor_critic, &mut *letters(), &config, &Default::default(), false, None)?;
    assert!(actor_critic.progress.kl_coef > 0.01, "{}", actor_critic.progress.kl_coef);
    Ok(())
}

/// A policy that has collapsed: its nucleus holds one token, which the reference gives little.
#[test]
fn the_reference_is_not_restricted_to_the_nucleus_of_the_policy() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = config(1, chat_tokenizer.eos_token_id());
    let nucleus = SamplingStrategy::new(1., None, Some(1e-6), None);
    config.rollout.sampler = Sampler::new(nucleus);
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    assert_close(&found.old_log_probs, &found.mask.zeros_like()?, 1e-5); // one token, probability 1
    // Expected: −log π of the same tokens without a filter, as the reference is the policy.
    let mut unfiltered = found.groups.clone();
    let completions = unfiltered.iter_mut().flat_map(|group| &mut group.completions);
    completions.for_each(|completion| completion.allowed_tokens.clear());
    let batch = TokenBatch::from_groups(&unfiltered, &actor_critic.config, &CPU)?;
    let log_probs = log_probs(&actor_critic.models()?.rollout_policy, &batch, 1.)?.sum_all()?;
    let expected = -f64::from(log_probs.to_scalar::<f32>()?) / batch.n_tokens() as f64;
    assert_close(found.kl_per_token, expected, 1e-4);
    assert!(expected > 3., "{expected}");
    Ok(())
}

#[test]
fn an_experience_holds_no_graph() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = config(1, chat_tokenizer.eos_token_id());
    for backbone in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let mut actor_critic = actor_critic(&chat_tokenizer, backbone, &config)?;
        let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
        let PpoExperience { old_log_probs, values, advantages, returns, .. } = &found;
        assert!(![old_log_probs, values, advantages, returns].iter().any(|x| x.track_op()));
    }
    Ok(())
}

#[test]
fn a_completion_pays_for_its_kl_to_the_reference_once() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = ending(1);
    config.reward_shaping.gae = GaeConfig { gamma: 1., lambda: 1. };
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    for parameter in actor_critic.policy.parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 4.)?)?;
    }
    let found = experience_of(&mut actor_critic, &chat_tokenizer, &config)?; // β = 0.1
    let ref_log_probs =
        ref_log_probs_of_groups(&reference(&chat_tokenizer)?, &found.groups, 1., 2, &Ranks::Alone)?;
    let kl = (&found.old_log_probs - ref_log_probs)?.sum(1)?.to_vec1::<f32>()?;
    for ((reward, kl), paid) in found.rewards.iter().zip(&kl).zip(paid(&found)?) {
        assert_close(f64::from(paid), reward - 0.1 * f64::from(*kl), 1e-4);
    }
    assert!(kl.iter().any(|kl| kl.abs() > 0.5), "the policy is near its reference: {kl:?}");
    Ok(())
}
