//! Training loop: it increases the reward, and every setting has an effect.

mod on_ranks;
mod precision;
mod probe_worlds;
mod run;
mod skipped_steps;

use anyhow::Result;
use datasets::Example;
use experiment::{Run, RunLog, RunLogConfig, TrainState};
use model_io::ModelConfig;
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::{prompt_ids, tokenize_prompts};
use ppo::{
    Clip, CompletionEvalConfig, PromptExample, PromptLoader, RewardFn, RewardInput, RolloutConfig,
    ScoredRollouts, Scoring, rollout,
};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::{ChatFormat, ChatTokenizer, ModelSaver, bpe_tokenizer};
use tensor_core::{AdamWConfig, Parameters, Rng};

use super::CPU;
use crate::weighted_rewards::rule_reward_fn;
use crate::{
    Aggregation, Baseline, GrpoConfig, GrpoEvaluator, GrpoValidator, LossLevel, Method, Objective,
    OverlongHandling, Policy, ReferenceUpdate, Task, train,
};

const MAX_NEW_TOKENS: usize = 4;

pub(super) fn chat_tokenizer() -> Result<ChatTokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    let tokenizer = bpe_tokenizer::train_bpe([text; 4].into_iter(), 320)?;
    let template = sft::template::chat_template(ChatFormat::Plain, &tokenizer, None)?;
    let end = tokenizer.eos().expect("an eos token");
    ChatTokenizer::new(tokenizer, template, vec![end])
}

fn prompt_examples(chat_tokenizer: &ChatTokenizer) -> Result<Vec<PromptExample>> {
    let examples = (0..6).map(|i| Example::new(format!("What is {i} + 7?"), format!("{}", i + 7)));
    Ok(tokenize_prompts(examples.collect(), chat_tokenizer, 24, MAX_NEW_TOKENS)?.0)
}

fn model_config(chat_tokenizer: &ChatTokenizer) -> ModelConfig {
    let vocab_size = chat_tokenizer.tokenizer.vocab_size();
    ModelConfig { vocab_size, ..ModelConfig::byte_level(24, 1, 2, 16) }
}

fn new_policy(
    chat_tokenizer: &ChatTokenizer,
    reference_update: Option<ReferenceUpdate>,
) -> Result<Policy> {
    let config = model_config(chat_tokenizer);
    let mut parameters = Parameters::seeded(5, candle_core::DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
    Policy::new(&config, TrainState::new(parameters, optimizer)?, reference_update)
}

fn grpo_config(steps: usize, chat_tokenizer: &ChatTokenizer) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    // A fifth of the tokens stop, so that some completions end early.
    let others = (0..chat_tokenizer.tokenizer.vocab_size() as u32).filter(|id| id % 5 == 0);
    let stop_token_ids = others.chain([chat_tokenizer.eos_token_id()]).collect();
    let rollout = RolloutConfig::new(6, sampler, MAX_NEW_TOKENS, stop_token_ids);
    let schedule = LrSchedule {
        peak_lr: 1e-2,
        min_lr: 1e-2,
        warmup_steps: 1,
        total_steps: steps,
        decay: DecayShape::Constant,
    };
    GrpoConfig::with_defaults(6, rollout, schedule, 3)
}

/// Share of lowercase letters in a completion.
fn lowercase_fraction(input: &RewardInput<'_>) -> f32 {
    let n = input.completion.chars().count().max(1) as f32;
    input.completion.chars().filter(char::is_ascii_lowercase).count() as f32 / n
}

/// Trains `policy` in the run `run`; returns the number of sampled tokens. The log has no rows, so
/// the policy's progress has the metrics of every step.
fn train_policy(
    policy: &mut Policy,
    prompts: &[PromptExample],
    config: &GrpoConfig,
    reward_fn: &mut RewardFn,
    interval: usize,
    model_saver: Option<&ModelSaver>,
    run: &Run,
) -> Result<usize> {
    let chat_tokenizer = &chat_tokenizer()?;
    let eval_config =
        CompletionEvalConfig { chat_tokenizer, max_new_tokens: MAX_NEW_TOKENS, batch_size: 6 };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let validator = GrpoValidator { prompts, evaluator, interval, model_saver };
    let mut loader = PromptLoader::new(prompts.to_vec(), config.seed)?;
    let mut scoring = Scoring::from_fn(chat_tokenizer, reward_fn, Some(1.));
    let mut log = RunLog::new(RunLogConfig::rewards(1000, 1, 1000), policy.state.progress.step)?;
    train(policy, &mut scoring, &mut loader, config, &validator, run, &mut log)?;
    Ok(log.state.n_tokens)
}

/// Trains a new policy, which is validated at the begin and the end; returns it and the number of
/// sampled tokens.
fn train_new(config: &GrpoConfig, reward_fn: &mut RewardFn) -> Result<(Policy, usize)> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut policy = new_policy(&chat_tokenizer, config.reference_update)?;
    let (prompts, run) = (prompt_examples(&chat_tokenizer)?, Run::default());
    let n_tokens = train_policy(&mut policy, &prompts, config, reward_fn, 0, None, &run)?;
    Ok((policy, n_tokens))
}

fn flat_parameters(policy: &Policy) -> Result<Vec<f32>> {
    let weights =
        policy.state.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1::<f32>()?));
    Ok(weights.collect::<Result<Vec<_>>>()?.concat())
}

/// Mean reward of completions sampled from `policy`.
fn mean_sampled_reward(policy: &Policy) -> Result<f64> {
    let chat_tokenizer = chat_tokenizer()?;
    let (config, mut reward_fn) =
        (grpo_config(1, &chat_tokenizer), rule_reward_fn(lowercase_fraction));
    let (prompts, rng) = (prompt_examples(&chat_tokenizer)?, &mut Rng::new(1));
    let ids = prompt_ids(&prompts);
    let groups = rollout(&policy.models.inference, &ids, &config.rollout, rng)?;
    let rollouts = ScoredRollouts::new(groups, &prompts, &chat_tokenizer, &mut *reward_fn, rng)?;
    Ok(rollouts.rewards.iter().sum::<f64>() / rollouts.rewards.len() as f64)
}

#[test]
fn training_raises_the_reward_and_its_negative_lowers_it() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let before = mean_sampled_reward(&new_policy(&chat_tokenizer, None)?)?;
    let after = |reward| -> Result<f64> {
        let config = grpo_config(20, &chat_tokenizer);
        mean_sampled_reward(&train_new(&config, &mut *rule_reward_fn(reward))?.0)
    };
    let (raised, lowered) =
        (after(lowercase_fraction)?, after(|input| -lowercase_fraction(input))?);
    assert!(raised > before + 0.15 && lowered < 0.75 * before, "{before} {raised} {lowered}");
    Ok(())
}

#[test]
fn every_method_learns_per_token_and_per_completion() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let before = mean_sampled_reward(&new_policy(&chat_tokenizer, None)?)?;
    for method in Method::ALL {
        for level in [LossLevel::Token, LossLevel::Sequence] {
            let mut config = grpo_config(20, &chat_tokenizer).with_method(method);
            config.objective.level = level;
            if method == Method::Reinforce {
                (config.prompts_per_step, config.rollout.group_size) = (36, 1);
            }
            let (policy, _) = train_new(&config, &mut *rule_reward_fn(lowercase_fraction))?;
            let after = mean_sampled_reward(&policy)?;
            assert!(after > before + 0.15, "{method:?} {level:?}: {before} {after}");
        }
    }
    Ok(())
}

/// Reward function for runs that alternate validations and steps: `validation_rewards` in turn for
/// validations, 0 for rollouts.
fn scripted_reward_fn(validation_rewards: [f64; 3]) -> Box<RewardFn> {
    let mut calls = 0;
    Box::new(move |inputs, _| {
        let reward = if calls % 2 == 0 { validation_rewards[calls / 2] } else { 0. };
        calls += 1;
        Ok(vec![reward; inputs.len()])
    })
}

#[test]
fn kl_is_measured_to_the_fixed_or_synchronized_reference() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let kls = |reference: Option<ReferenceUpdate>| -> Result<Vec<Option<f64>>> {
        let mut config = grpo_config(4, &chat_tokenizer);
        config.objective.kl = config.objective.kl.filter(|_| reference.is_some());
        config.reference_update = reference;
        let (policy, _) = train_new(&config, &mut *rule_reward_fn(lowercase_fraction))?;
        let steps = policy.progress.recent_steps;
        Ok(steps.iter().map(|step| step.update.and_then(|update| update.kl_per_token)).collect())
    };
    let near = |kl: &Option<f64>| kl.is_some_and(|kl| kl.abs() < 1e-6);
    let far = |kl: &Option<f64>| kl.is_some_and(|kl| kl > 1e-4);
    let fixed = kls(Some(ReferenceUpdate::Fixed))?;
    assert!(near(&fixed[0]) && fixed[1..].iter().all(far), "{fixed:?}");
    let synced = kls(Some(ReferenceUpdate::SyncEvery(2)))?;
    assert!(near(&synced[0]) && near(&synced[2]), "{synced:?}");
    assert!(far(&synced[1]) && far(&synced[3]), "{synced:?}");
    assert_eq!(kls(None)?, [None; 4]);
    Ok(())
}

#[test]
fn every_setting_changes_the_trained_weights() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let defaults = || grpo_config(3, &chat_tokenizer);
    let after = |config: GrpoConfig| {
        flat_parameters(&train_new(&config, &mut *rule_reward_fn(lowercase_fraction))?.0)
    };
    let three_iterations = || {
        let mut config = defaults();
        config.update.num_iterations = 3;
        config
    };
    let mut all = vec![("defaults", after(defaults())?), ("mu", after(three_iterations())?)];
    let mut add = |name, base: GrpoConfig, change: &dyn Fn(&mut GrpoConfig)| -> Result<()> {
        let mut config = base;
        change(&mut config);
        all.push((name, after(config)?));
        Ok(())
    };
    add("epsilon", three_iterations(), &|c| c.objective.clip_range = Some(Clip::symmetric(0.02)))?;
    add("no clipping", three_iterations(), &|c| c.objective.clip_range = None)?;
    add("epsilon high", three_iterations(), &|c| {
        c.objective.clip_range = Some(Clip { low: 0.02, high: 0.2 })
    })?;
    add("baseline", defaults(), &|c| c.advantage.baseline = Baseline::BatchMean)?;
    add("moving average", defaults(), &|c| c.advantage.baseline = Baseline::MovingAverage)?;
    add("sequence", defaults(), &|c| c.objective.level = LossLevel::Sequence)?;
    add("aggregation", defaults(), &|c| c.advantage.loss_aggregation = Aggregation::Sequence)?;
    add("masked", defaults(), &|c| c.advantage.overlong = OverlongHandling::Masked)?;
    add("penalized", defaults(), &|c| {
        c.advantage.overlong = OverlongHandling::Penalized { buffer: 3 }
    })?;
    add("no KL", defaults(), &|c| c.objective = Objective { kl: None, ..c.objective })?;
    add("seed", defaults(), &|c| c.seed = 4)?;
    for (i, (a, weights)) in all.iter().enumerate() {
        for (b, others) in &all[..i] {
            assert!(weights != others, "{a} and {b} give the same weights");
        }
    }
    let (policy, _) = train_new(&three_iterations(), &mut *rule_reward_fn(lowercase_fraction))?;
    for step in policy.progress.recent_steps {
        let last = step.update.expect("one");
        assert!(last.ratio_max > 1.001, "the third iteration is off-policy");
        assert!(last.sampler_log_prob_diff < 1e-4, "that of the first iteration: {last:?}");
    }
    Ok(())
}

#[test]
fn gradient_clipping_and_the_learning_rate_schedule_are_applied() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let after = |max_grad_norm, min_lr, stop_after| {
        let mut config = grpo_config(2, &chat_tokenizer);
        config.update.max_grad_norm = max_grad_norm;
        config.update.schedule =
            LrSchedule { min_lr, warmup_steps: 0, ..LrSchedule::cosine(1e-2, 2) };
        let run = Run { stop_after: Some(stop_after), ..Run::default() };
        let mut policy = new_policy(&chat_tokenizer, config.reference_update)?;
        let (prompts, reward_fn) =
            (prompt_examples(&chat_tokenizer)?, &mut *rule_reward_fn(lowercase_fraction));
        train_policy(&mut policy, &prompts, &config, reward_fn, 0, None, &run)?;
        flat_parameters(&policy)
    };
    let (before, clipped) =
        (flat_parameters(&new_policy(&chat_tokenizer, None)?)?, after(1e-14, 1e-2, 2)?);
    let near = before.iter().zip(&clipped).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near, "far below Adam's ε, weights do not move");
    assert_ne!(after(1., 0., 1)?, before);
    assert_eq!(after(1., 0., 2)?, after(1., 0., 1)?, "the second step has learning rate 0");
    Ok(())
}
