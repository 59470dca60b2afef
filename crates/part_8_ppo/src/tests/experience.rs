//! 8.4: what a response is paid, token by token.

use anyhow::Result;
use candle_core::Tensor;
use modern::{FinishReason, SlidingWindow};
use sft::Example;

use super::CPU;
use super::small_run::{config, ending, experience_of, judged, learner, letters, run, speech};
use crate::gae::GaeConfig;
use crate::kl::KlController;
use crate::reward_fn::exact_match_reward;
use crate::rewards::{RewardScaling, TruncationHandling};
use crate::{
    CriticBackbone, PpoExperience, RewardInput, RolloutGroup, SampledCompletion, ScoredRollouts,
};

/// What each response is worth at its first token, with γ = λ = 1: all that it is paid.
fn paid(found: &PpoExperience) -> Result<Vec<f32>> {
    Ok(found.returns.narrow(1, 0, 1)?.squeeze(1)?.to_vec1()?)
}

#[test]
fn values_explain_what_they_explain() -> Result<()> {
    let speech = speech()?;
    let config = config(1, speech.eos_token_id());
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    let mut found = experience_of(&mut learner, &speech, &config)?;
    assert!(found.explained_variance()?.abs() < 1e-6, "a critic that says 0 explains nothing");
    found.values = found.returns.clone();
    assert!((found.explained_variance()? - 1.).abs() < 1e-6);
    Ok(())
}

#[test]
fn a_cut_response_is_paid_for_what_it_is_or_for_what_it_would_have_become() -> Result<()> {
    let speech = speech()?;
    let mut config = ending(1);
    config.reward_shaping.gae = GaeConfig { gamma: 1., lambda: 1. };
    (config.reward_shaping.missing_eos_penalty, config.reward_shaping.reward_clip) =
        (2., Some(0.5));
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    let bias = learner.critic.parameters.get("value_head.bias").expect("a bias");
    bias.var.set(&Tensor::new(&[0.7f32], &CPU)?)?; // what is expected of everything
    for cut in [TruncationHandling::Bootstrap, TruncationHandling::Terminal] {
        config.reward_shaping.truncation = cut;
        let found = experience_of(&mut learner, &speech, &config)?;
        let responses: Vec<&SampledCompletion> =
            found.groups.iter().flat_map(|g| &g.completions).collect();
        for ((response, &score), paid) in responses.iter().zip(&found.rewards).zip(paid(&found)?) {
            let clipped = score.min(0.5);
            let expected = match (response.terminated(), cut) {
                (true, _) => clipped,
                (false, TruncationHandling::Bootstrap) => 0.7 - 2.,
                (false, TruncationHandling::Terminal) => clipped - 2.,
            };
            assert!((f64::from(paid) - expected).abs() < 1e-5, "{cut:?} {paid} {expected}");
        }
        let ended = responses.iter().filter(|response| response.terminated()).count();
        assert!(ended > 0 && ended < responses.len(), "some end and some are cut off");
    }
    Ok(())
}

#[test]
fn whitened_rewards_keep_their_mean() -> Result<()> {
    let speech = speech()?;
    let mut config = ending(1);
    config.reward_shaping.gae = GaeConfig { gamma: 1., lambda: 1. };
    config.reward_shaping.reward_scaling = RewardScaling::Whiten;
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    let found = experience_of(&mut learner, &speech, &config)?;
    // The policy is its own reference, so all rewards are 0 but those of the last tokens.
    let responses: Vec<&SampledCompletion> =
        found.groups.iter().flat_map(|g| &g.completions).collect();
    let each = responses.iter().zip(&found.rewards);
    let paid_last: Vec<f64> = each.map(|(_, score)| *score).collect();
    let n: f64 = responses.iter().map(|r| r.tokens.len() as f64).sum();
    let mean = paid_last.iter().sum::<f64>() / n;
    let variance = paid_last.iter().map(|x| x * x).sum::<f64>() / n - mean * mean;
    let white = |x: f64| (x - mean) / variance.sqrt() + mean;
    for ((response, last), paid) in responses.iter().zip(&paid_last).zip(paid(&found)?) {
        let expected = white(*last) + (response.tokens.len() - 1) as f64 * white(0.);
        assert!((f64::from(paid) - expected).abs() < 1e-3, "{paid} {expected}");
    }
    Ok(())
}

#[test]
fn a_reference_is_heard_through_its_own_window() -> Result<()> {
    let speech = speech()?;
    let config = config(1, speech.eos_token_id());
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    let (models, judged) = (learner.models()?, judged(&mut learner, &speech, &config)?);
    let mut windowed = learner.policy.config;
    windowed.attention.window = Some(SlidingWindow { size: 2, sinks: 0 });
    let scores = (0..judged.rewards.len()).map(|i| i as f64).collect();
    let judged = ScoredRollouts { rewards: scores, ..judged };
    let twin = learner.policy.parameters.for_inference();
    let windowed = modern::GptModern::new(&windowed, { twin }.root())?;
    let found = PpoExperience::from_rollouts(judged.clone(), &models, &windowed, &config, 1.)?;
    // By the tokens of each text alone, through that window.
    let mut nats = 0.;
    for RolloutGroup { prompt, completions: responses } in &judged.groups {
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
    assert!((found.kl - expected).abs() < 1e-4, "{} {expected}", found.kl);
    assert!(expected.abs() > 1e-4, "the window matters");
    Ok(())
}

/// What a policy could write at will between the digits of a right answer.
#[test]
fn special_tokens_are_seen_by_who_scores() -> Result<()> {
    let speech = speech()?;
    let [pad, digits] = ["<pad>", "19"].map(|text| {
        speech.tokenizer.encode(text, modern::AddSpecialTokens::No, modern::ParseSpecial::Yes)
    });
    let (pad, digits) = (pad?, digits?);
    let example = Example::new("What is 12 + 7?", "19");
    let beyond = [speech.tokenizer.vocab_size() as u32 + 3];
    for (inside, right) in [(&[][..], 1.), (&pad[..], 0.), (&beyond[..], 0.)] {
        let tokens = [&digits[..1], inside, &digits[1..], &[speech.eos_token_id()]].concat();
        let log_probs = vec![0.; tokens.len()];
        let response = SampledCompletion {
            tokens,
            log_probs,
            allowed_tokens: Vec::new(),
            finish_reason: FinishReason::Stop,
        };
        let group = RolloutGroup { prompt: vec![1], completions: vec![response] };
        let text = crate::experience::decode_completions(&[group], &speech)?.remove(0);
        let score = exact_match_reward(&RewardInput {
            example: &example,
            completion: &text,
            terminated: true,
        });
        assert_eq!(score, right, "{text:?}");
    }
    Ok(())
}

/// The price of KL rises as the KL of a response, not that of a token, is above its target.
#[test]
fn the_price_of_kl_follows_the_kl_of_whole_responses() -> Result<()> {
    let speech = speech()?;
    let mut config = config(1, speech.eos_token_id());
    let mut learner = learner(&speech, CriticBackbone::Shared, &config)?;
    for parameter in learner.policy.parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 4.)?)?; // far from the reference
    }
    let far = experience_of(&mut learner, &speech, &config)?;
    assert!(far.kl > 1.5 * far.kl_per_token && far.kl_per_token > 0., "{far:?}");
    let target = (far.kl * far.kl_per_token).sqrt();
    config.kl_controller = KlController::Adaptive { init_kl_coef: 0.01, target, horizon: 10. };
    run(&mut learner, &mut *letters(), &config, &Default::default(), false)?;
    assert!(learner.progress.kl_coef > 0.01, "{}", learner.progress.kl_coef);
    Ok(())
}
