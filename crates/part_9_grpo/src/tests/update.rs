//! What a step is made of: gradients, parts, who is left out, the reference.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{GptModern, ModelConfig};
use ppo::experience::ScoredRollouts;
use ppo::{Clip, PromptExample, RolloutConfig, SampledCompletion};
use sft::{Example, TrainState};
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{AdamWConfig, Parameters, Rng, clip_grad_norm};

use super::CPU;
use crate::experience::AdvantageConfig;
use crate::reference::{ReferenceModel, ReferenceUpdate};
use crate::update::{gradients, micro_batches};
use crate::{Aggregation, GrpoExperience, Kl, Objective, Overlong};

fn new_train_state(seed: u64) -> Result<TrainState> {
    let init_std = ModelConfig::GPT2_INIT_STD;
    let config = ModelConfig { vocab_size: 20, init_std, ..ModelConfig::byte_level(32, 2, 2, 16) };
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 6.)?)?;
    }
    TrainState::new(config, parameters, AdamWConfig::default())
}

fn inference_model(tuning: &TrainState) -> Result<GptModern> {
    Ok(GptModern::new(&tuning.config, tuning.parameters.for_inference().root())?)
}

const MAX_NEW_TOKENS: usize = 5;

fn rollout_config(samples: usize) -> RolloutConfig {
    let sampler = Sampler::new(SamplingStrategy::new(0.9, None, None, None));
    RolloutConfig {
        group_size: samples,
        sampler,
        max_new_tokens: MAX_NEW_TOKENS,
        stop_token_ids: (0..5).collect(),
    }
}

fn advantage_config(overlong: Overlong) -> AdvantageConfig {
    AdvantageConfig { overlong, ..AdvantageConfig::with_defaults() }
}

fn objective() -> Objective {
    Objective {
        clip_range: Clip::symmetric(0.2),
        kl: Some((Kl::K3Weighted, 0.1)),
        importance_sampling_cap: None,
    }
}

fn prompt_examples() -> Vec<PromptExample> {
    let of =
        |prompt: &[u32]| PromptExample { example: Example::new("?", "7"), prompt: prompt.to_vec() };
    vec![of(&[3, 4, 5]), of(&[6]), of(&[7, 8, 9, 10, 11])]
}

/// Three groups of three; in the second all completions are worth the same.
fn experience(tuning: &TrainState, overlong: Overlong) -> Result<GrpoExperience> {
    let prompts: Vec<Vec<u32>> =
        prompt_examples().into_iter().map(|question| question.prompt).collect();
    let groups =
        ppo::rollout(&inference_model(tuning)?, &prompts, &rollout_config(3), &mut Rng::new(4))?;
    let texts: Vec<String> =
        ["7", "8", "9", "7", "7", "7", "x", "7", "7"].map(String::from).to_vec();
    let scores = texts.iter().map(|text| f64::from(u8::from(text == "7"))).collect();
    GrpoExperience::from_rollouts(
        ScoredRollouts { groups, completion_texts: texts, rewards: scores },
        &rollout_config(3),
        &advantage_config(overlong),
    )
}

#[test]
fn every_weight_gets_a_gradient_and_no_value_head_is_there() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let drawn = experience(&tuning, Overlong::None)?;
    let how = &objective();
    let reference = inference_model(&self::new_train_state(2)?)?;
    let parts = micro_batches(&drawn, how, &inference_model(&tuning)?, Some(&reference), 8)?;
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let (loss, grads, seen) = gradients(&policy, &tuning.parameters, &parts, how)?;
    assert_gradients_flow(&tuning.parameters, &grads)?;
    assert!(tuning.parameters.iter().all(|parameter| !parameter.name.contains("value_head")));
    assert!(loss.is_finite() && seen.kl_per_token > Some(0.), "{loss} {seen:?}");
    // Before the first step the ratio is 1, whatever temperature and cache the sampler had.
    assert!(seen.sampler_log_prob_diff < 1e-4 && (seen.ratio_max - 1.).abs() < 1e-3, "{seen:?}");
    assert_eq!(seen.clip_fraction, 0.);
    Ok(())
}

#[test]
fn in_parts_the_gradient_is_that_of_the_whole() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let reference = inference_model(&self::new_train_state(2)?)?;
    for aggregation in [Aggregation::Sequence, Aggregation::Token, Aggregation::Constant] {
        let mut drawn = experience(&tuning, Overlong::None)?;
        let lengths: Vec<usize> =
            drawn.groups.iter().flat_map(|g| &g.completions).map(|r| r.tokens.len()).collect();
        assert!(lengths.iter().any(|n| *n != lengths[0]), "ragged: {lengths:?}");
        drawn.weights = aggregation.weights(&lengths, &[true; 9], MAX_NEW_TOKENS);
        let how = &objective();
        let mut of = |each: usize| -> Result<_> {
            let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
            let parts =
                micro_batches(&drawn, how, &inference_model(&tuning)?, Some(&reference), each)?;
            assert_eq!(parts.len(), 3usize.div_ceil(each));
            let (loss, grads, _) = gradients(&policy, &tuning.parameters, &parts, how)?;
            Ok((loss, grads))
        };
        let ((a, whole), (b, parts)) = (of(3)?, of(1)?);
        assert!((a - b).abs() < 1e-5, "{aggregation:?}: {a} {b}");
        for parameter in tuning.parameters.iter() {
            let var = parameter.var.as_tensor();
            assert_close(parts.get(var).expect("one"), whole.get(var).expect("one"), 1e-4)?;
        }
    }
    Ok(())
}

#[test]
fn twice_the_advantages_are_twice_the_gradient_and_a_loss_of_0_has_one() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let mut drawn = experience(&tuning, Overlong::None)?;
    let lengths = drawn.groups.iter().flat_map(|g| &g.completions).map(|r| r.tokens.len());
    drawn.weights =
        Aggregation::Sequence.weights(&lengths.collect::<Vec<_>>(), &[true; 9], MAX_NEW_TOKENS);
    let how = Objective { kl: None, ..objective() };
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let of = |drawn: &GrpoExperience| -> Result<_> {
        let parts = micro_batches(drawn, &how, &inference_model(&tuning)?, None, 8)?;
        let (loss, mut grads, _) = gradients(&policy, &tuning.parameters, &parts, &how)?;
        let norm = clip_grad_norm(&mut grads, &tuning.parameters, f64::MAX)?;
        Ok((loss, norm, grads))
    };
    let (loss, norm, once) = of(&drawn)?;
    // On what the policy itself has drawn every ratio is 1, and the advantages of a group sum to 0.
    assert!(loss.abs() < 1e-5 && norm > 0.01, "loss {loss}, norm {norm}");
    drawn.advantages.iter_mut().for_each(|advantage| *advantage *= 2.);
    let twice = of(&drawn)?.2; // the same, if advantages were normalised a second time, over groups or over tokens
    for parameter in tuning.parameters.iter() {
        let [once, twice] = [&once, &twice].map(|grads| grads.get(&parameter.var).expect("one"));
        assert_close(twice, &(once * 2.)?, 1e-4)?;
    }
    Ok(())
}

#[test]
fn groups_without_signal_are_left_out_unless_the_reference_pulls() -> Result<()> {
    let tuning = new_train_state(1)?;
    let drawn = experience(&tuning, Overlong::None)?;
    assert_eq!(
        (0..3).map(|group| drawn.has_nonzero_advantage(group)).collect::<Vec<_>>(),
        [true, false, true]
    );
    let (twin, with) = (inference_model(&tuning)?, objective());
    let without = Objective { kl: None, ..with };
    let count = |objective: &Objective| -> Result<usize> {
        Ok(micro_batches(&drawn, objective, &twin, Some(&twin), 1)?.len())
    };
    assert_eq!((count(&with)?, count(&without)?), (3, 2));
    Ok(())
}

#[test]
fn what_was_cut_is_masked_or_pays() -> Result<()> {
    let tuning = new_train_state(1)?;
    let of = |overlong| experience(&tuning, overlong);
    let scored = of(Overlong::None)?;
    let masked = of(Overlong::Masked)?;
    let penalised = of(Overlong::Penalized { buffer: 2 })?;
    let responses: Vec<&SampledCompletion> =
        scored.groups.iter().flat_map(|group| &group.completions).collect();
    let cut = responses.iter().filter(|response| !response.terminated()).count();
    assert!(cut > 0 && cut < 9, "some are cut and some are not: {cut}");
    let all: f32 =
        responses.iter().zip(&masked.weights).map(|(r, w)| w * r.tokens.len() as f32).sum();
    assert!((all - 1.).abs() < 1e-5, "what takes part has all the weight: {all}");
    for (i, response) in responses.iter().enumerate() {
        assert_eq!(masked.weights[i] == 0., !response.terminated());
        let paid = scored.rewards[i] - penalised.rewards[i];
        let wanted = (response.tokens.len() as f32 - 3.).max(0.) / 2.;
        assert!((paid - wanted).abs() < 1e-6, "{paid} {wanted}");
    }
    Ok(())
}

#[test]
fn a_step_makes_better_completions_likelier_than_worse_ones() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let drawn = experience(&tuning, Overlong::None)?;
    let objective = Objective { kl: None, ..objective() };
    let how = &objective;
    // Σ w A log π, which is what the step is to raise.
    let raised = |tuning: &TrainState| -> Result<f32> {
        let twin = inference_model(tuning)?;
        let batch = ppo::TokenBatch::from_groups(&drawn.groups, twin.config(), twin.device())?;
        let said = ppo::log_probs::log_probs(&twin, &batch, 0.9)?.sum(1)?.to_vec1::<f32>()?;
        let each = said.iter().zip(&drawn.weights).zip(&drawn.advantages);
        Ok(each.map(|((said, weight), advantage)| said * weight * advantage).sum())
    };
    let before = raised(&tuning)?;
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let parts = micro_batches(&drawn, how, &inference_model(&tuning)?, None, 8)?;
    let (_, grads, _) = gradients(&policy, &tuning.parameters, &parts, how)?;
    tuning.optimizer.step(&grads, 1e-4)?;
    let after = raised(&tuning)?;
    assert!(after > before + 0.01, "{before} {after}");
    Ok(())
}

#[test]
fn a_reference_stays_and_is_renewed_when_it_is_time() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    let mut fixed = ReferenceModel::new(&tuning, ReferenceUpdate::Fixed)?;
    let mut renewed = ReferenceModel::new(&tuning, ReferenceUpdate::SyncEvery(2))?;
    let before = fixed.model.forward(&ids)?;
    for step in 1..=2 {
        for parameter in tuning.parameters.iter() {
            parameter.var.set(&(parameter.var.as_detached_tensor() * 1.1)?)?;
        }
        tuning.progress.step = step;
        fixed.sync_if_due(&tuning)?;
        renewed.sync_if_due(&tuning)?;
        assert_close(&fixed.model.forward(&ids)?, &before, 0.)?;
        let wanted =
            if step == 1 { before.clone() } else { inference_model(&tuning)?.forward(&ids)? };
        assert_close(&renewed.model.forward(&ids)?, &wanted, 1e-6)?;
    }
    Ok(())
}

#[test]
fn groups_of_which_no_completion_takes_part_are_left_out() -> Result<()> {
    let tuning = new_train_state(1)?;
    let (twin, mut drawn) = (inference_model(&tuning)?, experience(&tuning, Overlong::None)?);
    let n = |drawn: &GrpoExperience| {
        anyhow::Ok(micro_batches(drawn, &objective(), &twin, Some(&twin), 1)?.len())
    };
    assert_eq!(n(&drawn)?, 3);
    drawn.weights[3..].fill(0.);
    assert_eq!(
        (n(&drawn)?, drawn.has_nonzero_advantage(0), drawn.has_nonzero_advantage(2)),
        (1, true, false)
    );
    Ok(())
}

#[test]
fn the_better_of_two_completions_has_the_positive_advantage() -> Result<()> {
    let drawn = experience(&new_train_state(1)?, Overlong::None)?;
    for (text, advantage) in drawn.completion_texts.iter().zip(&drawn.advantages) {
        match &text[..] {
            "7" => assert!(*advantage >= 0.),
            _ => assert!(*advantage < 0., "{text}: {advantage}"),
        }
    }
    assert!(drawn.advantages[0] > 0.);
    Ok(())
}

#[test]
fn the_reference_is_asked_at_the_temperature_of_what_was_drawn() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let (drawn, objective) = (experience(&tuning, Overlong::None)?, objective());
    let twin = inference_model(&tuning)?;
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let of = |reference: Option<&GptModern>| -> Result<Option<f64>> {
        let without = Objective { kl: objective.kl.filter(|_| reference.is_some()), ..objective };
        let parts = micro_batches(&drawn, &without, &twin, reference, 8)?;
        Ok(gradients(&policy, &tuning.parameters, &parts, &without)?.2.kl_per_token)
    };
    assert!(of(Some(&twin))?.is_some_and(|kl| kl.abs() < 1e-6), "it is the policy itself");
    assert_eq!(of(None)?, None, "not measured is not 0");
    Ok(())
}

#[test]
fn a_cap_corrects_nothing_where_sampler_and_loss_agree() -> Result<()> {
    let mut tuning = new_train_state(1)?;
    let drawn = experience(&tuning, Overlong::None)?;
    let (twin, reference) =
        (inference_model(&tuning)?, inference_model(&self::new_train_state(2)?)?);
    let policy = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let of = |importance_cap, drawn: &GrpoExperience| -> Result<_> {
        let objective = Objective { importance_sampling_cap: importance_cap, ..objective() };
        let parts = micro_batches(drawn, &objective, &twin, Some(&reference), 8)?;
        let (loss, _, seen) = gradients(&policy, &tuning.parameters, &parts, &objective)?;
        Ok((loss, seen))
    };
    let ((plain, _), (capped, seen)) = (of(None, &drawn)?, of(Some(2.), &drawn)?);
    assert!((plain - capped).abs() < 1e-5 && (seen.ratio_max - 1.).abs() < 1e-4, "{seen:?}");
    // A sampler that noted every probability e times too small: all ratios are e, unless the loss computes them itself.
    let mut misread = drawn;
    let responses = misread.groups.iter_mut().flat_map(|group| &mut group.completions);
    responses.flat_map(|response| &mut response.log_probs).for_each(|x| *x -= 1.);
    let seen = of(None, &misread)?.1;
    assert!((seen.clip_fraction, (seen.ratio_max * 1e3).round()) == (1., 2718.), "{seen:?}");
    assert!((seen.sampler_log_prob_diff - 1.).abs() < 1e-4, "{seen:?}");
    let seen = of(Some(2.), &misread)?.1;
    assert!(seen.clip_fraction == 0. && (seen.ratio_max - 1.).abs() < 1e-4, "{seen:?}");
    Ok(())
}
