//! The loop: it learns what is rewarded and nothing else, and hears every choice.

mod left_out;

use anyhow::Result;
use modern::model_folder::SpecialTokenIds;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{GptModern, ModelConfig};
use ppo::prompts::tokenize_prompts;
use ppo::{
    Clip, CompletionEvalConfig, PromptExample, RewardFn, RewardInput, RolloutConfig, reward_fn,
};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::{
    ChatFormat, ChatTokenizer, Example, ModelSaver, RunDestination, RunOutputs, TrainState,
    word_tokenizer,
};
use tensor_core::{AdamWConfig, Parameters, Rng, weights};
use tiny_gpt::Interrupt;

use super::CPU;
use crate::evaluation::GrpoEvaluator;
use crate::experience::collect_rollouts;
use crate::reference::{ReferenceModel, ReferenceUpdate};
use crate::training::GrpoValidation;
use crate::weighted_rewards::rule_reward_fn;
use crate::{
    Aggregation, Baseline, GrpoConfig, GrpoContext, GrpoLog, Objective, Overlong, RunState, Task,
    WeightedRewards, train,
};

const MAX_NEW_TOKENS: usize = 4;

fn chat_tokenizer() -> Result<ChatTokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    let tokenizer = word_tokenizer::train([text; 4].into_iter(), 320)?;
    let template = sft::template::chat_template(ChatFormat::Plain, &tokenizer, None)?;
    let end = tokenizer.eos().expect("an end");
    ChatTokenizer::new(tokenizer, template, vec![end])
}

fn prompt_examples(speech: &ChatTokenizer) -> Result<Vec<PromptExample>> {
    let examples = (0..6).map(|i| Example::new(format!("What is {i} + 7?"), format!("{}", i + 7)));
    Ok(tokenize_prompts(examples.collect(), speech, 24, MAX_NEW_TOKENS)?.0)
}

fn new_train_state(speech: &ChatTokenizer) -> Result<TrainState> {
    let vocab_size = speech.tokenizer.vocab_size();
    let config = ModelConfig { vocab_size, ..ModelConfig::byte_level(24, 1, 2, 16) };
    let mut parameters = Parameters::seeded(5, candle_core::DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    TrainState::new(config, parameters, AdamWConfig { weight_decay: 0., ..AdamWConfig::default() })
}

fn grpo_config(steps: usize, speech: &ChatTokenizer) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let others = (0..speech.tokenizer.vocab_size() as u32).filter(|id| id % 5 == 0); // so that some end early
    let stop = others.chain([speech.eos_token_id()]).collect();
    let rollout = RolloutConfig {
        group_size: 6,
        sampler,
        max_new_tokens: MAX_NEW_TOKENS,
        stop_token_ids: stop,
    };
    let schedule = LrSchedule {
        peak_lr: 1e-2,
        min_lr: 1e-2,
        warmup_steps: 1,
        total_steps: steps,
        decay: DecayShape::Constant,
    };
    GrpoConfig::with_defaults(6, rollout, schedule, 3)
}

/// The share of a response's characters that are small letters.
fn lowercase_fraction(reply: &RewardInput<'_>) -> f32 {
    let n = reply.completion.chars().count().max(1) as f32;
    reply.completion.chars().filter(char::is_ascii_lowercase).count() as f32 / n
}

/// Trains a model; it, and what its log knows of all its steps.
fn train_with_outputs(
    config: &GrpoConfig,
    scorer: &mut RewardFn,
    outputs: &RunOutputs<'_>,
    interval: usize,
) -> Result<(TrainState, RunState)> {
    let speech = chat_tokenizer()?;
    let (mut tuning, questions) = (new_train_state(&speech)?, prompt_examples(&speech)?);
    let asking = CompletionEvalConfig {
        chat_tokenizer: &speech,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 6,
    };
    let exam = GrpoEvaluator { task: Task::Arithmetic, eval_config: asking };
    let reference =
        config.reference_update.map(|kind| ReferenceModel::new(&tuning, kind)).transpose()?;
    let looks = GrpoValidation { evaluator: exam, prompts: &questions, interval };
    let mut around = GrpoContext { reference, reward_fn: scorer, validation: looks };
    let mut log = GrpoLog::new(config.update.schedule.total_steps, 0, RunState::default(), 1000)?;
    train(&mut tuning, questions.clone(), config, &mut around, outputs, &mut log)?;
    Ok((tuning, log.run_state))
}

fn train_model(config: &GrpoConfig, scorer: &mut RewardFn) -> Result<(TrainState, RunState)> {
    train_with_outputs(config, scorer, &RunOutputs::default(), 0)
}

fn flat_parameters(tuning: &TrainState) -> Result<Vec<f32>> {
    let each = tuning.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1::<f32>()?));
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}

/// The mean reward of what `tuning` draws.
fn mean_sampled_reward(tuning: &TrainState) -> Result<f64> {
    let speech = chat_tokenizer()?;
    let twin = GptModern::new(&tuning.config, tuning.parameters.for_inference().root())?;
    let (config, mut scorer) = (grpo_config(1, &speech), rule_reward_fn(lowercase_fraction));
    let (by, asked) = ((&speech, &mut *scorer), prompt_examples(&speech)?);
    let scores = collect_rollouts(&twin, by, &asked, &config.rollout, &mut Rng::new(1))?.rewards;
    Ok(scores.iter().sum::<f64>() / scores.len() as f64)
}

#[test]
fn what_is_rewarded_becomes_likelier_and_what_costs_less_likely() -> Result<()> {
    let speech = chat_tokenizer()?;
    let before = mean_sampled_reward(&new_train_state(&speech)?)?;
    let after = mean_sampled_reward(
        &train_model(&grpo_config(20, &speech), &mut *rule_reward_fn(lowercase_fraction))?.0,
    )?;
    let reverse = mean_sampled_reward(
        &train_model(
            &grpo_config(20, &speech),
            &mut *rule_reward_fn(|reply| -lowercase_fraction(reply)),
        )?
        .0,
    )?;
    assert!(after > before + 0.15 && reverse < 0.75 * before, "{before} {after} {reverse}");
    Ok(())
}

#[test]
fn rewards_are_summed_by_their_weights() -> Result<()> {
    let (speech, example) = (chat_tokenizer()?, Example::new("?", "42"));
    let reply =
        RewardInput { example: &example, completion: "<answer>42</answer>", terminated: true };
    let paid = |mix: &str| -> Result<f64> {
        let (mut judge, strangers) =
            WeightedRewards::parse(mix)?.open_reward_fn(&speech, 8, &CPU)?;
        assert!(strangers.is_empty());
        Ok((judge.reward_fn)(&[reply], &mut Rng::new(1))?[0])
    };
    let total = paid("correctness=0.5, format , length=-2")?;
    assert!((total - (0.5 * 2. + 0.4 + 2. * 0.01)).abs() < 1e-6, "{total}");
    assert!([0.25, 0.].contains(&paid("chance=0.25")?));
    Ok(())
}

/// What is drawn is worth nothing; what is said when it is looked at, what `looks` says, look by look.
fn scripted_reward_fn(looks: [f64; 3]) -> Box<RewardFn> {
    let mut calls = 0;
    Box::new(move |replies, _| {
        let worth = if calls % 2 == 0 { looks[calls / 2] } else { 0. };
        calls += 1;
        Ok(vec![worth; replies.len()])
    })
}

#[test]
fn the_best_of_all_looks_is_the_model_that_is_saved() -> Result<()> {
    let speech = chat_tokenizer()?;
    let mut config = grpo_config(2, &speech);
    config.objective.kl = None;
    let mut kept = Vec::new();
    for looks in [[0.2, 0.9, 0.1], [0.2, 0.1, 0.9], [0.9, 0.2, 0.1]] {
        let (folder, ends) = (tempfile::tempdir()?, SpecialTokenIds::default());
        let keeper =
            ModelSaver { chat_tokenizer: &speech, special_ids: &ends, sampler: None, lora: None };
        let place = RunDestination::new(folder.path(), &keeper, "these");
        let (interrupt, stop_after) = (Interrupt::default(), None);
        let outputs = RunOutputs { destination: Some(place), interrupt, stop_after };
        let mut looked = scripted_reward_fn(looks);
        let mut chance = reward_fn::random_reward_fn();
        let mut calls = 0;
        let mut both: Box<RewardFn> = Box::new(move |replies, rng| {
            calls += 1;
            let said = looked(replies, rng)?;
            if calls % 2 == 1 { Ok(said) } else { chance(replies, rng) }
        });
        let (tuning, _) = train_with_outputs(&config, &mut *both, &outputs, 1)?;
        assert_eq!(tuning.progress.best_loss, Some(-0.9));
        let saved = weights::load(&folder.path().join("model/model.safetensors"))?;
        let mut numbers = Vec::new();
        for tensor in saved.values() {
            numbers.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        kept.push(numbers);
    }
    assert!(kept[0] != kept[1] && kept[1] != kept[2] && kept[0] != kept[2], "one of each step");
    Ok(())
}

#[test]
fn the_distance_is_that_to_the_reference_that_was_asked_for() -> Result<()> {
    let speech = chat_tokenizer()?;
    let of = |reference: Option<ReferenceUpdate>| -> Result<Vec<Option<f64>>> {
        let mut config = grpo_config(4, &speech);
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
    let fixed = of(Some(ReferenceUpdate::Fixed))?;
    assert!(near(&fixed[0]) && fixed[1..].iter().all(far), "{fixed:?}");
    let renewed = of(Some(ReferenceUpdate::SyncEvery(2)))?;
    assert!(near(&renewed[0]) && near(&renewed[2]), "{renewed:?}");
    assert!(far(&renewed[1]) && far(&renewed[3]), "{renewed:?}");
    assert_eq!(of(None)?, [None; 4]);
    Ok(())
}

#[test]
fn every_choice_is_heard() -> Result<()> {
    let speech = chat_tokenizer()?;
    let usual = || grpo_config(3, &speech);
    let after = |config: GrpoConfig| {
        flat_parameters(&train_model(&config, &mut *rule_reward_fn(lowercase_fraction))?.0)
    };
    let twice = || {
        let mut config = usual();
        config.update.num_iterations = 3;
        config
    };
    let mut all = vec![("usual", after(usual())?), ("mu", after(twice())?)];
    let mut other = |name, from: GrpoConfig, change: &dyn Fn(&mut GrpoConfig)| -> Result<()> {
        let mut config = from;
        change(&mut config);
        all.push((name, after(config)?));
        Ok(())
    };
    other("epsilon", twice(), &|c| c.objective.clip_range = Clip::symmetric(0.02))?;
    other("epsilon high", twice(), &|c| c.objective.clip_range = Clip { low: 0.02, high: 0.2 })?;
    other("baseline", usual(), &|c| c.advantage.baseline = Baseline::BatchMean)?;
    other("aggregation", usual(), &|c| c.advantage.loss_aggregation = Aggregation::Sequence)?;
    other("masked", usual(), &|c| c.advantage.overlong = Overlong::Masked)?;
    other("penalised", usual(), &|c| c.advantage.overlong = Overlong::Penalized { buffer: 3 })?;
    other("no KL", usual(), &|c| c.objective = Objective { kl: None, ..c.objective })?;
    other("seed", usual(), &|c| c.seed = 4)?;
    for (i, (a, weights)) in all.iter().enumerate() {
        for (b, others) in &all[..i] {
            assert!(weights != others, "{a} and {b} arrive at the same weights");
        }
    }
    let rows = train_model(&twice(), &mut *rule_reward_fn(lowercase_fraction))?.1.recent_rows;
    for (last, before_the_first) in rows.iter().filter_map(|row| row.update) {
        assert!(last.update_metrics.ratio_max > 1.001, "the third update is off what was drawn");
        assert!(
            before_the_first < 1e-4 && last.update_metrics.sampler_log_prob_diff > 1e-4,
            "{last:?}"
        );
    }
    Ok(())
}

#[test]
fn the_gradient_is_clipped_and_the_rate_is_the_schedules() -> Result<()> {
    let speech = chat_tokenizer()?;
    let after = |grad_clip, floor, stop_after| {
        let mut config = grpo_config(2, &speech);
        config.update.max_grad_norm = grad_clip;
        config.update.schedule =
            LrSchedule { min_lr: floor, warmup_steps: 0, ..LrSchedule::cosine(1e-2, 2) };
        let outputs = RunOutputs { stop_after: Some(stop_after), ..RunOutputs::default() };
        flat_parameters(
            &train_with_outputs(&config, &mut *rule_reward_fn(lowercase_fraction), &outputs, 0)?.0,
        )
    };
    let (before, still) = (flat_parameters(&new_train_state(&speech)?)?, after(1e-14, 1e-2, 2)?);
    let near = before.iter().zip(&still).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near, "far below Adam's epsilon, nothing moves");
    assert_ne!(after(1., 0., 1)?, before);
    assert_eq!(after(1., 0., 2)?, after(1., 0., 1)?, "the second step has rate 0");
    Ok(())
}

#[test]
fn steps_without_signal_and_tokens_are_counted_and_a_budget_ends_the_run() -> Result<()> {
    let speech = chat_tokenizer()?;
    let mut config = grpo_config(5, &speech);
    let so_far = train_model(&config, &mut *rule_reward_fn(|_| 0.5))?.1;
    let tokens: usize = so_far.recent_rows.iter().map(|row| row.n_tokens).sum();
    assert_eq!((so_far.zero_advantage_steps, so_far.n_tokens), (5, tokens));
    let folder = tempfile::tempdir()?;
    so_far.save(folder.path())?;
    assert_eq!(RunState::load(folder.path())?, so_far);
    config.update.max_sampled_tokens = Some(so_far.recent_rows[0].n_tokens + 1);
    let (tuning, so_far) = train_model(&config, &mut *rule_reward_fn(lowercase_fraction))?;
    assert_eq!((tuning.progress.step, so_far.zero_advantage_steps), (2, 0));
    Ok(())
}
