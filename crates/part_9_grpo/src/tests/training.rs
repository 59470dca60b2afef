//! Training loop: it increases the reward, and every setting has an effect.

mod skipped_steps;

use anyhow::Result;
use datasets::Example;
use experiment::Interrupt;
use model_io::ModelConfig;
use model_io::model_folder::SpecialTokenIds;
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::{
    Clip, CompletionEvalConfig, PromptExample, RewardFn, RewardInput, RolloutConfig, reward_fn,
};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::{
    ChatFormat, ChatTokenizer, ModelSaver, RunDestination, RunOutputs, TrainState, bpe_tokenizer,
};
use tensor_core::{AdamWConfig, Parameters, Rng, weights};

use super::CPU;
use crate::evaluation::GrpoEvaluator;
use crate::experience::collect_rollouts;
use crate::reference::{ReferenceModel, ReferenceUpdate};
use crate::training::GrpoValidation;
use crate::weighted_rewards::rule_reward_fn;
use crate::{
    Aggregation, Baseline, GrpoConfig, GrpoContext, GrpoLog, Objective, OverlongHandling, RunState,
    Task, WeightedRewards, train,
};

const MAX_NEW_TOKENS: usize = 4;

fn chat_tokenizer() -> Result<ChatTokenizer> {
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

fn new_train_state(chat_tokenizer: &ChatTokenizer) -> Result<TrainState> {
    let vocab_size = chat_tokenizer.tokenizer.vocab_size();
    let config = ModelConfig { vocab_size, ..ModelConfig::byte_level(24, 1, 2, 16) };
    let mut parameters = Parameters::seeded(5, candle_core::DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    TrainState::new(config, parameters, AdamWConfig { weight_decay: 0., ..AdamWConfig::default() })
}

fn grpo_config(steps: usize, chat_tokenizer: &ChatTokenizer) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    // A fifth of the tokens stop, so that some completions end early.
    let others = (0..chat_tokenizer.tokenizer.vocab_size() as u32).filter(|id| id % 5 == 0);
    let stop_token_ids = others.chain([chat_tokenizer.eos_token_id()]).collect();
    let rollout =
        RolloutConfig { group_size: 6, sampler, max_new_tokens: MAX_NEW_TOKENS, stop_token_ids };
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

/// Trains a new model; returns it and its run state, with a log row for each step.
fn train_with_outputs(
    config: &GrpoConfig,
    reward_fn: &mut RewardFn,
    outputs: &RunOutputs<'_>,
    interval: usize,
) -> Result<(TrainState, RunState)> {
    let chat_tokenizer = chat_tokenizer()?;
    let (mut train_state, prompts) =
        (new_train_state(&chat_tokenizer)?, prompt_examples(&chat_tokenizer)?);
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 6,
    };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let reference = config
        .reference_update
        .map(|update| ReferenceModel::new(&train_state, update))
        .transpose()?;
    let validation = GrpoValidation { evaluator, prompts: &prompts, interval };
    let mut context = GrpoContext { reference, reward_fn, validation };
    let mut log = GrpoLog::new(config.update.schedule.total_steps, 0, RunState::default(), 1000)?;
    train(&mut train_state, prompts.clone(), config, &mut context, outputs, &mut log)?;
    Ok((train_state, log.run_state))
}

fn train_model(config: &GrpoConfig, reward_fn: &mut RewardFn) -> Result<(TrainState, RunState)> {
    train_with_outputs(config, reward_fn, &RunOutputs::default(), 0)
}

fn flat_parameters(train_state: &TrainState) -> Result<Vec<f32>> {
    let each = train_state.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1::<f32>()?));
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}

/// Mean reward of completions sampled from `policy`.
fn mean_sampled_reward(policy: &TrainState) -> Result<f64> {
    let chat_tokenizer = chat_tokenizer()?;
    let model = GptModern::new(&policy.config, policy.parameters.for_inference().root())?;
    let (config, mut reward_fn) =
        (grpo_config(1, &chat_tokenizer), rule_reward_fn(lowercase_fraction));
    let (context, prompts) =
        ((&chat_tokenizer, &mut *reward_fn), prompt_examples(&chat_tokenizer)?);
    let rng = &mut Rng::new(1);
    let rewards = collect_rollouts(&model, context, &prompts, &config.rollout, rng)?.rewards;
    Ok(rewards.iter().sum::<f64>() / rewards.len() as f64)
}

#[test]
fn training_raises_the_reward_and_its_negative_lowers_it() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let before = mean_sampled_reward(&new_train_state(&chat_tokenizer)?)?;
    let after = mean_sampled_reward(
        &train_model(&grpo_config(20, &chat_tokenizer), &mut *rule_reward_fn(lowercase_fraction))?
            .0,
    )?;
    let negated = mean_sampled_reward(
        &train_model(
            &grpo_config(20, &chat_tokenizer),
            &mut *rule_reward_fn(|input| -lowercase_fraction(input)),
        )?
        .0,
    )?;
    assert!(after > before + 0.15 && negated < 0.75 * before, "{before} {after} {negated}");
    Ok(())
}

#[test]
fn rewards_are_summed_with_their_weights() -> Result<()> {
    let (chat_tokenizer, example) = (chat_tokenizer()?, Example::new("?", "42"));
    let input =
        RewardInput { example: &example, completion: "<answer>42</answer>", terminated: true };
    let reward = |text: &str| -> Result<f64> {
        let (mut named, other_tokenizers) =
            WeightedRewards::parse(text)?.open_reward_fn(&chat_tokenizer, 8, &CPU)?;
        assert!(other_tokenizers.is_empty());
        Ok((named.reward_fn)(&[input], &mut Rng::new(1))?[0])
    };
    let total = reward("correctness=0.5, format , length=-2")?;
    assert!((total - (0.5 * 2. + 0.4 + 2. * 0.01)).abs() < 1e-6, "{total}");
    assert!([0.25, 0.].contains(&reward("random=0.25")?));
    let name = |text: &str| -> Result<String> {
        Ok(WeightedRewards::parse(text)?.open_reward_fn(&chat_tokenizer, 8, &CPU)?.0.name)
    };
    assert_eq!(name("random=0.25")?, "chance=0.25,", "as old checkpoints store it");
    assert_eq!(name("chance=0.25")?, "chance=0.25,", "the old name is accepted");
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
fn the_model_with_the_best_validation_is_saved() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(2, &chat_tokenizer);
    config.objective.kl = None;
    let mut saved_models = Vec::new();
    for rewards in [[0.2, 0.9, 0.1], [0.2, 0.1, 0.9], [0.9, 0.2, 0.1]] {
        let (folder, special_ids) = (tempfile::tempdir()?, SpecialTokenIds::default());
        let special_ids = &special_ids;
        let model_saver =
            ModelSaver { chat_tokenizer: &chat_tokenizer, special_ids, sampler: None, lora: None };
        let destination = RunDestination::new(folder.path(), &model_saver, "data");
        let (interrupt, stop_after) = (Interrupt::default(), None);
        let outputs = RunOutputs { destination: Some(destination), interrupt, stop_after };
        let mut scripted = scripted_reward_fn(rewards);
        let mut random = reward_fn::random_reward_fn();
        let mut calls = 0;
        let mut both: Box<RewardFn> = Box::new(move |inputs, rng| {
            calls += 1;
            let rewards = scripted(inputs, rng)?;
            if calls % 2 == 1 { Ok(rewards) } else { random(inputs, rng) }
        });
        let (train_state, _) = train_with_outputs(&config, &mut *both, &outputs, 1)?;
        assert_eq!(train_state.progress.best_loss, Some(-0.9));
        let saved = weights::load(&folder.path().join("model/model.safetensors"))?;
        let mut numbers = Vec::new();
        for tensor in saved.values() {
            numbers.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        saved_models.push(numbers);
    }
    let [a, b, c] = [0, 1, 2].map(|i| &saved_models[i]);
    assert!(a != b && b != c && a != c, "models of different steps");
    Ok(())
}

#[test]
fn kl_is_measured_to_the_fixed_or_synchronized_reference() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let kls = |reference: Option<ReferenceUpdate>| -> Result<Vec<Option<f64>>> {
        let mut config = grpo_config(4, &chat_tokenizer);
        config.objective.kl = config.objective.kl.filter(|_| reference.is_some());
        config.reference_update = reference;
        let rows = train_model(&config, &mut *rule_reward_fn(lowercase_fraction))?.1.recent_rows;
        Ok(rows
            .iter()
            .map(|row| row.update.and_then(|(update, _)| update.update_metrics.kl_per_token))
            .collect())
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
        flat_parameters(&train_model(&config, &mut *rule_reward_fn(lowercase_fraction))?.0)
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
    add("epsilon", three_iterations(), &|c| c.objective.clip_range = Clip::symmetric(0.02))?;
    add("epsilon high", three_iterations(), &|c| {
        c.objective.clip_range = Clip { low: 0.02, high: 0.2 }
    })?;
    add("baseline", defaults(), &|c| c.advantage.baseline = Baseline::BatchMean)?;
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
    let rows =
        train_model(&three_iterations(), &mut *rule_reward_fn(lowercase_fraction))?.1.recent_rows;
    for (last, first_diff) in rows.iter().filter_map(|row| row.update) {
        assert!(last.update_metrics.ratio_max > 1.001, "the third iteration is off-policy");
        assert!(first_diff < 1e-4 && last.update_metrics.sampler_log_prob_diff > 1e-4, "{last:?}");
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
        let outputs = RunOutputs { stop_after: Some(stop_after), ..RunOutputs::default() };
        flat_parameters(
            &train_with_outputs(&config, &mut *rule_reward_fn(lowercase_fraction), &outputs, 0)?.0,
        )
    };
    let (before, clipped) =
        (flat_parameters(&new_train_state(&chat_tokenizer)?)?, after(1e-14, 1e-2, 2)?);
    let near = before.iter().zip(&clipped).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near, "far below Adam's ε, weights do not move");
    assert_ne!(after(1., 0., 1)?, before);
    assert_eq!(after(1., 0., 2)?, after(1., 0., 1)?, "the second step has learning rate 0");
    Ok(())
}

#[test]
fn zero_advantage_steps_and_tokens_are_counted_and_limit_the_run() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let mut config = grpo_config(5, &chat_tokenizer);
    let run_state = train_model(&config, &mut *rule_reward_fn(|_| 0.5))?.1;
    let n_tokens: usize = run_state.recent_rows.iter().map(|row| row.n_tokens).sum();
    assert_eq!((run_state.zero_advantage_steps, run_state.n_tokens), (5, n_tokens));
    let folder = tempfile::tempdir()?;
    run_state.save(folder.path())?;
    assert_eq!(RunState::load(folder.path())?, run_state);
    config.update.max_sampled_tokens = Some(run_state.recent_rows[0].n_tokens + 1);
    let (train_state, run_state) = train_model(&config, &mut *rule_reward_fn(lowercase_fraction))?;
    assert_eq!((train_state.progress.step, run_state.zero_advantage_steps), (2, 0));
    Ok(())
}
