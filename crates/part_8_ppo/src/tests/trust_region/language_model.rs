//! The trust region of a language model, beside PPO's clip and a KL penalty on the same rollouts.

use std::cell::Cell;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use modern::{FinishReason, GptModern};
use tensor_core::ops::log_softmax;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, Rng, backward};

use super::REGION;
use crate::kl::ratio;
use crate::log_probs::log_probs;
use crate::losses::{Clip, clipped_surrogate};
use crate::tests::{CPU, END, at, config, inference_model, policy};
use crate::trust_region::TrustRegion;
use crate::{RolloutConfig, RolloutGroup, SampledCompletion, TokenBatch, rollout};

const LANGUAGE_REGION: TrustRegion = TrustRegion { damping: 0.01, ..REGION };

/// Language model in f64 whose parameters are one vector.
struct FlatModel {
    model: GptModern,
    parameters: Parameters,
    batch: TokenBatch,
    /// Gradients computed so far.
    n_gradients: Cell<usize>,
}

impl FlatModel {
    /// Model with the weights of `parameters`.
    fn new(parameters: &Parameters, groups: &[RolloutGroup]) -> Result<Self> {
        let mut wide = Parameters::seeded(0, DType::F64, &CPU);
        let model = GptModern::new(&config(), wide.root())?;
        for (wide, narrow) in wide.iter().zip(parameters.iter()) {
            wide.var.set(&narrow.var.as_detached_tensor().to_dtype(DType::F64)?)?;
        }
        let batch = TokenBatch::from_groups(groups, &config(), &CPU)?;
        Ok(Self { model, parameters: wide, batch, n_gradients: Cell::new(0) })
    }

    /// All weights, one after the other.
    fn flat(&self) -> candle_core::Result<Tensor> {
        let all = self.parameters.iter().map(|p| p.var.as_detached_tensor().flatten_all());
        Tensor::cat(&all.collect::<candle_core::Result<Vec<_>>>()?, 0)
    }

    fn set(&self, flat: &Tensor) -> candle_core::Result<()> {
        let mut start = 0;
        for parameter in self.parameters.iter() {
            let n = parameter.var.elem_count();
            parameter.var.set(&flat.narrow(0, start, n)?.reshape(parameter.var.shape())?)?;
            start += n;
        }
        Ok(())
    }

    /// Log-probabilities of all tokens at the N positions that predict one: (N, V).
    fn distributions(&self) -> candle_core::Result<Tensor> {
        let hidden = self.batch.hidden(&self.model).expect("hidden states");
        let hidden = self.batch.at_predicting_positions(&hidden).expect("positions");
        log_softmax(&self.model.logits(&hidden)?)
    }

    /// Mean over tokens of `f` of the distributions, (N, V) -> (N), and its gradient, at the
    /// weights `flat`.
    fn mean_at(
        &self,
        flat: &Tensor,
        f: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<(f64, Tensor)> {
        self.set(flat)?;
        self.n_gradients.set(self.n_gradients.get() + 1);
        let mean = f(&self.distributions()?)?.mean_all()?;
        let grads = backward(&mean)?;
        let gradients = self.parameters.iter().map(|p| match grads.get(p.var.as_tensor()) {
            Some(gradient) => gradient.flatten_all(),
            None => p.var.zeros_like()?.flatten_all(),
        });
        let gradient = Tensor::cat(&gradients.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        Ok((mean.to_scalar()?, gradient))
    }
}

#[test]
fn a_language_model_steps_within_the_region_and_raises_its_surrogate() -> Result<()> {
    let (_, parameters) = policy(&config(), 3)?;
    let prompts = [vec![1, 2], vec![3], vec![4, 5, 6]];
    let sampler = inference_model(&config(), &parameters)?;
    let groups = rollout(&sampler, &prompts, &at(1., None, None), &mut Rng::new(4))?;
    let flat_model = FlatModel::new(&parameters, &groups)?;
    assert!(flat_model.parameters.n_parameters() <= 20_000);
    // A completion is better the more tokens 7 it has.
    let completions = groups.iter().flat_map(|group| &group.completions);
    let advantages = completions.flat_map(|completion| {
        let n = completion.tokens.iter().filter(|&&token| token == 7).count();
        completion.tokens.iter().map(move |_| n as f64 - 0.5)
    });
    let advantages = Tensor::from_iter(advantages, &CPU)?; // (N)
    let tokens = flat_model.batch.targets.unsqueeze(1)?; // (N, 1)
    let region = LANGUAGE_REGION;
    for step in 1..=3 {
        let (theta, old) = (flat_model.flat()?, flat_model.distributions()?.detach());
        let next = region.step(
            &theta,
            &|flat| {
                flat_model.mean_at(flat, |new| {
                    ratio(&new.gather(&tokens, 1)?, &old.gather(&tokens, 1)?)?.squeeze(1)?
                        * &advantages
                })
            },
            &|flat| flat_model.mean_at(flat, |new| (old.exp()? * (&old - new)?)?.sum(1)),
        )?;
        let next = next.with_context(|| format!("step {step} is not accepted"))?;
        assert!(next.kl > 0. && next.kl <= region.max_kl, "step {step}: KL {}", next.kl);
        assert!(next.improvement > 1e-3, "step {step}: {}", next.improvement);
        flat_model.set(&next.parameters)?;
    }
    Ok(())
}

/// Largest number of tokens of the completions that are compared.
const LENGTH: usize = 3;
const N_STEPS: usize = 5;
/// Gradient steps on PPO's objective and on the penalized one, with Adam.
const INNER_STEPS: usize = 20;
const LR: f64 = 3e-4;
const KL_COEF: f64 = 1.;

/// Update from the same rollouts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Update {
    TrustRegion,
    Clip,
    Penalty,
}

/// Rollouts of the old policy: their distributions, tokens, and advantages over the mean of the
/// prompt.
struct Rollouts {
    old: Tensor,        // (N, V)
    tokens: Tensor,     // (N, 1)
    advantages: Tensor, // (N)
}

impl Rollouts {
    fn new(model: &FlatModel, groups: &[RolloutGroup]) -> Result<Self> {
        let mut advantages = Vec::new();
        for RolloutGroup { completions, .. } in groups {
            let rewards: Vec<f64> = completions.iter().map(|c| reward(&c.tokens)).collect();
            let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
            let of_tokens = completions.iter().zip(&rewards);
            advantages.extend(of_tokens.flat_map(|(c, r)| vec![r - mean; c.tokens.len()]));
        }
        Ok(Self {
            old: model.distributions()?.detach(),
            tokens: model.batch.targets.unsqueeze(1)?,
            advantages: Tensor::new(advantages, &CPU)?,
        })
    }

    /// ρ A of each token, or PPO's clipped objective: (N, V) -> (N).
    fn surrogate(&self, new: &Tensor, clip: Option<Clip>) -> candle_core::Result<Tensor> {
        let [new, old] = [new, &self.old].map(|x| x.gather(&self.tokens, 1)?.squeeze(1));
        match clip {
            None => ratio(&new?, &old?)? * &self.advantages,
            Some(clip) => clipped_surrogate(&new?, &old?, &self.advantages, clip)?.neg(),
        }
    }

    /// KL(π_old ‖ π) at each token: (N, V) -> (N).
    fn kl(&self, new: &Tensor) -> candle_core::Result<Tensor> {
        (self.old.exp()? * (&self.old - new)?)?.sum(1)
    }

    /// Weights after `update` from `theta`.
    fn step(&self, update: Update, model: &FlatModel, theta: &Tensor) -> Result<Tensor> {
        let objective = |new: &Tensor| match update {
            Update::TrustRegion => self.surrogate(new, None),
            Update::Clip => self.surrogate(new, Some(Clip::symmetric(0.2))),
            Update::Penalty => self.surrogate(new, None)? - (self.kl(new)? * KL_COEF)?,
        };
        if update == Update::TrustRegion {
            let step =
                LANGUAGE_REGION.step(theta, &|flat| model.mean_at(flat, objective), &|flat| {
                    model.mean_at(flat, |new| self.kl(new))
                })?;
            return Ok(step.context("no step is accepted")?.parameters);
        }
        let (mut theta, mut first, mut second) =
            (theta.clone(), theta.zeros_like()?, theta.zeros_like()?);
        for i in 1..=INNER_STEPS {
            let (_, gradient) = model.mean_at(&theta, objective)?;
            first = ((first * 0.9)? + (&gradient * 0.1)?)?;
            second = ((second * 0.999)? + (gradient.sqr()? * 0.001)?)?;
            let mean = (&first / (1. - 0.9f64.powi(i as i32)))?;
            let scale = ((&second / (1. - 0.999f64.powi(i as i32)))?.sqrt()? + 1e-8)?;
            theta = (theta + ((mean / scale)? * LR)?)?.detach();
        }
        Ok(theta)
    }
}

/// A completion is better the more tokens 7 it has.
fn reward(tokens: &[u32]) -> f64 {
    tokens.iter().filter(|&&token| token == 7).count() as f64
}

/// Completions of up to [`LENGTH`] tokens, all that there are.
fn all_completions() -> Vec<Vec<u32>> {
    let mut open = vec![Vec::new()];
    let mut finished = Vec::new();
    for length in 1..=LENGTH {
        let extended = open.iter().flat_map(|tokens: &Vec<u32>| {
            (0..12).map(|token| [tokens.clone(), vec![token]].concat()).collect::<Vec<_>>()
        });
        let is_finished = |tokens: &Vec<u32>| length == LENGTH || tokens.last() == Some(&END);
        let (ended, others): (Vec<_>, Vec<_>) = extended.partition(is_finished);
        finished.extend(ended);
        open = others;
    }
    finished
}

/// True mean reward of the weights `parameters` over all completions of `prompts`.
fn true_mean_reward(parameters: &Parameters, prompts: &[Vec<u32>]) -> Result<f64> {
    let model = inference_model(&config(), parameters)?;
    let completions = all_completions();
    let mut sum = 0.;
    for prompt in prompts {
        let completion = |tokens: &Vec<u32>| SampledCompletion {
            tokens: tokens.clone(),
            log_probs: Vec::new(),
            allowed_tokens: Vec::new(),
            finish_reason: FinishReason::Stop,
        };
        let completions = completions.iter().map(completion).collect();
        let group = RolloutGroup { prompt: prompt.clone(), completions };
        let batch = TokenBatch::from_groups([&group], &config(), &CPU)?;
        let log_probs = log_probs(&model, &batch, 1.)?.sum(1)?.to_vec1::<f32>()?;
        let probs: Vec<f64> = log_probs.into_iter().map(|p| f64::from(p).exp()).collect();
        assert_close(probs.iter().sum::<f64>(), 1., 1e-4);
        let rewards = group.completions.iter().map(|completion| reward(&completion.tokens));
        sum += probs.iter().zip(rewards).map(|(p, r)| p * r).sum::<f64>();
    }
    Ok(sum / prompts.len() as f64)
}

/// Weights `flat` of `model` in f32, to sample from.
fn narrow(model: &FlatModel, flat: &Tensor) -> Result<Parameters> {
    let (_, parameters) = policy(&config(), 3)?;
    model.set(flat)?;
    for (narrow, wide) in parameters.iter().zip(model.parameters.iter()) {
        narrow.var.set(&wide.var.as_detached_tensor().to_dtype(DType::F32)?)?;
    }
    Ok(parameters)
}

/// Prints what the README says of it: `cargo test -p part_8 --lib same_rollouts -- --nocapture`.
#[test]
fn on_the_same_rollouts_trpo_keeps_within_the_region_and_the_clip_does_not() -> Result<()> {
    let prompts = [vec![1, 2], vec![3], vec![4, 5, 6]];
    let config_of_rollouts =
        RolloutConfig { group_size: 64, max_new_tokens: LENGTH, ..at(1., None, None) };
    let updates = [Update::TrustRegion, Update::Clip, Update::Penalty];
    let mut measured = updates.map(|_| Vec::new()); // KL, gain, gradients of each step
    let (_, mut parameters) = policy(&config(), 3)?;
    let first = true_mean_reward(&parameters, &prompts)?;
    let mut before = first;
    for step in 0..N_STEPS {
        let sampler = inference_model(&config(), &parameters)?;
        let rng = &mut Rng::new(step as u64);
        let groups = rollout(&sampler, &prompts, &config_of_rollouts, rng)?;
        let model = FlatModel::new(&parameters, &groups)?;
        assert!(model.parameters.n_parameters() <= 20_000);
        let (theta, rollouts) = (model.flat()?, Rollouts::new(&model, &groups)?);
        for (update, measured) in updates.into_iter().zip(&mut measured) {
            model.n_gradients.set(0);
            let moved = rollouts.step(update, &model, &theta)?;
            let n_gradients = model.n_gradients.get();
            let (kl, _) = model.mean_at(&moved, |new| rollouts.kl(new))?;
            let moved = narrow(&model, &moved)?;
            let after = true_mean_reward(&moved, &prompts)?;
            measured.push((kl, after - before, n_gradients));
            if update == Update::TrustRegion {
                parameters = moved; // the next rollouts are those of TRPO's policy
            }
        }
        before += measured[0].last().context("a step")?.1;
    }
    println!("{} parameters, mean reward {first:.3} to {before:.3}", parameters.n_parameters());
    for (update, measured) in updates.iter().zip(&measured) {
        let max_kl = measured.iter().map(|(kl, ..)| *kl).fold(0., f64::max);
        let n_worse = measured.iter().filter(|(_, gain, _)| *gain <= 0.).count();
        let mean = |of: fn(&(f64, f64, usize)) -> f64| {
            measured.iter().map(of).sum::<f64>() / N_STEPS as f64
        };
        println!(
            "{update:?}: KL {:.4}, at most {max_kl:.4}; gain {:.4}, {n_worse} steps lowered the \
             reward; {:.0} gradients",
            mean(|m| m.0),
            mean(|m| m.1),
            mean(|m| m.2 as f64)
        );
    }
    let [trust_region, clip, _] = &measured;
    for (step, (kl, gain, _)) in trust_region.iter().enumerate() {
        assert!(*kl > 0. && *kl <= LANGUAGE_REGION.max_kl * 1.1, "step {step}: KL {kl}");
        assert!(*gain > 0., "step {step}: {gain}");
    }
    assert!(clip.iter().any(|(kl, ..)| *kl > 2. * LANGUAGE_REGION.max_kl), "{clip:?}");
    Ok(())
}
