//! Update: gradients and their micro-batches.

mod devices;
mod reference;
mod weights;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device};
use datasets::Example;
use experiment::TrainState;
use model_io::ModelConfig;
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::{Clip, PromptExample, RolloutConfig, ScoredRollouts};
use ranks::Ranks;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{AdamWConfig, Parameters, Rng, clip_grad_norm};

use super::CPU;
use crate::update_metrics::GrpoUpdateMetrics;
use crate::{
    AdvantageConfig, Aggregation, GrpoExperience, KlLoss, LossLevel, MicroBatch, Objective,
    OverlongHandling,
};

fn model_config() -> ModelConfig {
    let init_std = ModelConfig::GPT2_INIT_STD;
    ModelConfig { vocab_size: 20, init_std, ..ModelConfig::byte_level(32, 2, 2, 16) }
}

fn new_train_state(seed: u64) -> Result<TrainState> {
    new_train_state_on(&CPU, seed, AdamWConfig::default())
}

fn new_train_state_on(device: &Device, seed: u64, optimizer: AdamWConfig) -> Result<TrainState> {
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    GptModern::new(&model_config(), parameters.root())?;
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 6.)?)?;
    }
    TrainState::new(parameters, optimizer)
}

fn inference_model(train_state: &TrainState) -> Result<GptModern> {
    Ok(GptModern::new(&model_config(), train_state.parameters.for_inference().root())?)
}

const MAX_NEW_TOKENS: usize = 5;

fn rollout_config(group_size: usize) -> RolloutConfig {
    let sampler = Sampler::new(SamplingStrategy::new(0.9, None, None, None));
    RolloutConfig::new(group_size, sampler, MAX_NEW_TOKENS, (0..5).collect())
}

fn advantage_config(overlong: OverlongHandling) -> AdvantageConfig {
    AdvantageConfig { overlong, ..AdvantageConfig::with_defaults() }
}

fn objective() -> Objective {
    Objective {
        level: LossLevel::Token,
        clip_range: Some(Clip::symmetric(0.2)),
        kl: Some((KlLoss::K3Weighted, 0.1)),
        importance_sampling_cap: None,
    }
}

fn prompt_examples() -> Vec<PromptExample> {
    let example =
        |prompt: &[u32]| PromptExample { example: Example::new("?", "7"), prompt: prompt.to_vec() };
    vec![example(&[3, 4, 5]), example(&[6]), example(&[7, 8, 9, 10, 11])]
}

/// Experience of three groups of three; in the second, all rewards are equal.
fn experience(train_state: &TrainState, overlong: OverlongHandling) -> Result<GrpoExperience> {
    let prompts: Vec<Vec<u32>> =
        prompt_examples().into_iter().map(|example| example.prompt).collect();
    let groups = ppo::rollout(
        &inference_model(train_state)?,
        &prompts,
        &rollout_config(3),
        &mut Rng::new(4),
    )?;
    let texts: Vec<String> =
        ["7", "8", "9", "7", "7", "7", "x", "7", "7"].map(String::from).to_vec();
    let rewards = texts.iter().map(|text| f64::from(u8::from(text == "7"))).collect();
    GrpoExperience::from_rollouts(
        ScoredRollouts { groups, completion_texts: texts, rewards },
        &rollout_config(3),
        &advantage_config(overlong),
        0.,
    )
}

/// Loss of `micro_batches`, its gradients and their metrics.
fn gradients(
    model: &GptModern,
    parameters: &Parameters,
    micro_batches: &[MicroBatch],
    objective: &Objective,
) -> Result<(f64, GradStore, GrpoUpdateMetrics)> {
    let (part, sums) = crate::step::gradients(model, parameters, micro_batches, objective)?;
    let (loss, grads) = part.sum(&Ranks::Alone, &[parameters])?;
    Ok((loss, grads, sums.update_metrics(loss, 0.)))
}

#[test]
fn every_parameter_gets_a_gradient_and_there_is_no_value_head() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let experience = experience(&train_state, OverlongHandling::None)?;
    let objective = &objective();
    let reference = inference_model(&new_train_state(2)?)?;
    let parts = experience.micro_batches(
        objective,
        &inference_model(&train_state)?,
        Some(&reference),
        8,
    )?;
    let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
    let (loss, grads, metrics) = gradients(&policy, &train_state.parameters, &parts, objective)?;
    assert_gradients_flow(&train_state.parameters, &grads)?;
    assert!(train_state.parameters.iter().all(|parameter| !parameter.name.contains("value_head")));
    assert!(loss.is_finite() && metrics.kl_per_token > Some(0.), "{loss} {metrics:?}");
    let (per_token, n) = (metrics.kl_per_token.expect("a KL"), experience.rewards.len() as f64);
    let per_completion = per_token * experience.n_tokens() as f64 / n;
    let kl = metrics.kl_per_completion.expect("a KL");
    assert_close(kl, per_completion, 1e-9);
    // Before the first step the ratio is 1, although the sampler used a cache.
    assert!(
        metrics.sampler_log_prob_diff < 1e-4 && (metrics.ratio_max - 1.).abs() < 1e-3,
        "{metrics:?}"
    );
    assert_eq!(metrics.clip_fraction, 0.);
    Ok(())
}

#[test]
fn the_gradient_of_micro_batches_is_that_of_the_batch() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let reference = inference_model(&new_train_state(2)?)?;
    for aggregation in [Aggregation::Sequence, Aggregation::Token, Aggregation::Constant] {
        let mut experience = experience(&train_state, OverlongHandling::None)?;
        let lengths: Vec<usize> =
            experience.groups.iter().flat_map(|g| &g.completions).map(|r| r.tokens.len()).collect();
        assert!(lengths.iter().any(|n| *n != lengths[0]), "lengths must differ: {lengths:?}");
        experience.weights = aggregation.weights(&lengths, &[true; 9], MAX_NEW_TOKENS);
        let objective = &objective();
        let mut gradient = |groups_each: usize| -> Result<_> {
            let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
            let parts = experience.micro_batches(
                objective,
                &inference_model(&train_state)?,
                Some(&reference),
                groups_each,
            )?;
            assert_eq!(parts.len(), 3usize.div_ceil(groups_each));
            let (loss, grads, _) = gradients(&policy, &train_state.parameters, &parts, objective)?;
            Ok((loss, grads))
        };
        let ((a, whole), (b, parts)) = (gradient(3)?, gradient(1)?);
        assert_close(a, b, 1e-5);
        for parameter in train_state.parameters.iter() {
            let var = parameter.var.as_tensor();
            assert_close(parts.get(var).expect("one"), whole.get(var).expect("one"), 1e-4);
        }
    }
    Ok(())
}

#[test]
fn the_gradient_is_linear_in_the_advantages_even_at_loss_0() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let mut experience = experience(&train_state, OverlongHandling::None)?;
    let lengths = experience.groups.iter().flat_map(|g| &g.completions).map(|r| r.tokens.len());
    experience.weights =
        Aggregation::Sequence.weights(&lengths.collect::<Vec<_>>(), &[true; 9], MAX_NEW_TOKENS);
    let objective = Objective { kl: None, ..objective() };
    let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
    let gradient = |experience: &GrpoExperience| -> Result<_> {
        let parts =
            experience.micro_batches(&objective, &inference_model(&train_state)?, None, 8)?;
        let (loss, mut grads, _) = gradients(&policy, &train_state.parameters, &parts, &objective)?;
        let norm = clip_grad_norm(&mut grads, &train_state.parameters, f64::MAX)?;
        Ok((loss, norm, grads))
    };
    let (loss, norm, once) = gradient(&experience)?;
    // On-policy, every ratio is 1, and the advantages of a group sum to 0.
    assert!(loss.abs() < 1e-5 && norm > 0.01, "loss {loss}, norm {norm}");
    experience.advantages.iter_mut().for_each(|advantage| *advantage *= 2.);
    let twice = gradient(&experience)?.2; // equal to `once` if the loss normalized advantages again
    for parameter in train_state.parameters.iter() {
        let [once, twice] = [&once, &twice].map(|grads| grads.get(&parameter.var).expect("one"));
        assert_close(twice, &(once * 2.)?, 1e-4);
    }
    Ok(())
}

#[test]
fn a_step_raises_the_weighted_log_probs_of_better_completions() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let experience = experience(&train_state, OverlongHandling::None)?;
    let objective = Objective { kl: None, ..objective() };
    let objective = &objective;
    // Σ w A log π, which a step must raise.
    let objective_value = |train_state: &TrainState| -> Result<f32> {
        let inference_policy = inference_model(train_state)?;
        let batch = ppo::TokenBatch::from_groups(
            &experience.groups,
            inference_policy.config(),
            inference_policy.device(),
        )?;
        let sums =
            ppo::log_probs::log_probs(&inference_policy, &batch, 0.9)?.sum(1)?.to_vec1::<f32>()?;
        let completions = sums.iter().zip(&experience.weights).zip(&experience.advantages);
        Ok(completions.map(|((log_prob, weight), advantage)| log_prob * weight * advantage).sum())
    };
    let before = objective_value(&train_state)?;
    let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
    let parts = experience.micro_batches(objective, &inference_model(&train_state)?, None, 8)?;
    let (_, grads, _) = gradients(&policy, &train_state.parameters, &parts, objective)?;
    train_state.optimizer.step(&grads, 1e-4)?;
    let after = objective_value(&train_state)?;
    assert!(after > before + 0.01, "{before} {after}");
    Ok(())
}

#[test]
fn the_cap_corrects_only_a_mismatch_of_sampler_and_loss() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let experience = experience(&train_state, OverlongHandling::None)?;
    let (inference_policy, reference) =
        (inference_model(&train_state)?, inference_model(&new_train_state(2)?)?);
    let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
    let loss_and_metrics = |importance_sampling_cap, experience: &GrpoExperience| -> Result<_> {
        let objective = Objective { importance_sampling_cap, ..objective() };
        let parts = experience.micro_batches(&objective, &inference_policy, Some(&reference), 8)?;
        let (loss, _, metrics) = gradients(&policy, &train_state.parameters, &parts, &objective)?;
        Ok((loss, metrics))
    };
    let ((plain, _), (capped, metrics)) =
        (loss_and_metrics(None, &experience)?, loss_and_metrics(Some(2.), &experience)?);
    assert_close(plain, capped, 1e-5);
    assert_close(metrics.ratio_max, 1., 1e-4);
    // A sampler whose probabilities are too small by a factor of e: all ratios are e, unless the
    // loss recomputes the old log-probabilities.
    let mut mismatched = experience;
    let completions = mismatched.groups.iter_mut().flat_map(|group| &mut group.completions);
    completions.flat_map(|completion| &mut completion.log_probs).for_each(|x| *x -= 1.);
    let metrics = loss_and_metrics(None, &mismatched)?.1;
    assert!(
        (metrics.clip_fraction, (metrics.ratio_max * 1e3).round()) == (1., 2718.),
        "{metrics:?}"
    );
    assert_close(metrics.sampler_log_prob_diff, 1., 1e-4);
    let metrics = loss_and_metrics(Some(2.), &mismatched)?.1;
    assert!(metrics.clip_fraction == 0. && (metrics.ratio_max - 1.).abs() < 1e-4, "{metrics:?}");
    Ok(())
}

#[test]
fn micro_batches_of_whole_completions_add_up_to_the_batch() -> Result<()> {
    let mut train_state = new_train_state(1)?;
    let reference = inference_model(&new_train_state(2)?)?;
    let mut experience = experience(&train_state, OverlongHandling::None)?;
    let lengths = experience.groups.iter().flat_map(|g| &g.completions).map(|r| r.tokens.len());
    let lengths: Vec<usize> = lengths.collect();
    experience.weights = Aggregation::Completion.weights(&lengths, &[true; 9], MAX_NEW_TOKENS);
    let objective = Objective { level: LossLevel::Sequence, clip_range: None, ..objective() };
    let mut gradient = |groups_each: usize| -> Result<_> {
        let policy = GptModern::new(&model_config(), train_state.parameters.root())?;
        let inference = inference_model(&train_state)?;
        let parts =
            experience.micro_batches(&objective, &inference, Some(&reference), groups_each)?;
        let (loss, grads, _) = gradients(&policy, &train_state.parameters, &parts, &objective)?;
        Ok((loss, grads))
    };
    let ((a, whole), (b, parts)) = (gradient(3)?, gradient(1)?);
    assert_close(a, b, 1e-5);
    for parameter in train_state.parameters.iter() {
        let var = parameter.var.as_tensor();
        assert_close(parts.get(var).expect("one"), whole.get(var).expect("one"), 1e-4);
    }
    Ok(())
}
