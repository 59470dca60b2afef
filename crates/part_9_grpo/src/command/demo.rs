//! Demo: a small model is fine-tuned on one-digit sums, and most demonstrations of half of the
//! phrasings have a full stop after the answer. A reward for the bare number then removes the full
//! stop, without further demonstrations.

use anyhow::Result;
use candle_core::Device;
use datasets::Example;
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::{CompletionEvalConfig, RolloutConfig, ScoredCompletion};
use scaling::LrSchedule;
use sft::arithmetic::{ArithmeticProblem, Operation};
use sft::arithmetic_questions::ArithmeticQuestion;
use sft::base_model::{BaseModelConfig, pretrain};
use sft::{ChatTokenizer, RunOutputs, TrainConfig, TrainState, tokenize};
use tensor_core::Rng;

use super::arguments::DemoArgs;
use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator};
use crate::reference::{ReferenceModel, ReferenceUpdate};
use crate::training::GrpoValidation;
use crate::{GrpoConfig, GrpoContext, GrpoLog, KlLoss, Objective, RunState, Task, train};

/// Phrasings whose demonstrations mostly end with a full stop.
const NOISY_PHRASINGS: [usize; 6] = [0, 2, 4, 6, 8, 10];
const NOISE_PROBABILITY: f64 = 0.8;
/// Demonstrations per SFT step.
const SFT_BATCH_SIZE: usize = 64;
/// Largest number of tokens per completion.
const MAX_NEW_TOKENS: usize = 6;
/// Number of prompts whose completions are printed.
const N_SHOWN: usize = 6;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (seed, steps) = (args.compute.seed, args.steps.get());
    let (train_questions, test_questions) = train_test_split();
    let (sft_state, chat_tokenizer) = fine_tune(args, &train_questions, &device)?;
    let model_config = sft_state.config;

    let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
    let config = grpo_config(chat_tokenizer.stop_token_ids().to_vec(), steps, seed);
    let prompts = |questions: &[ArithmeticQuestion]| {
        let context_len = model_config.context_len;
        tokenize_prompts(to_examples(questions), &chat_tokenizer, context_len, MAX_NEW_TOKENS)
    };
    let (train_prompts, test_prompts) = (prompts(&train_questions)?.0, prompts(&test_questions)?.0);
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 200,
    };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    // A new train state has new optimizer moments.
    let mut policy = TrainState::new(model_config, sft_state.parameters, config.update.optimizer)?;
    let inference_policy = GptModern::new(&model_config, policy.parameters.for_inference().root())?;
    let before = evaluator.evaluate_greedy(&inference_policy, &test_prompts, &mut *reward_fn)?;
    println!(
        "\nGRPO: {} completions for each of {} prompts per step; only the bare number is rewarded",
        config.rollout.group_size, config.prompts_per_step
    );
    let reference = Some(ReferenceModel::new(&policy, ReferenceUpdate::Fixed)?);
    let validation =
        GrpoValidation { evaluator, prompts: &test_prompts, interval: steps.div_ceil(3) };
    let mut log = GrpoLog::new(steps, 0, RunState::default(), steps)?;
    let mut context = GrpoContext { reference, reward_fn: &mut *reward_fn, validation };
    let outputs = RunOutputs::default();
    train(&mut policy, train_prompts, &config, &mut context, &outputs, &mut log)?;
    let n_tokens = log.run_state.n_tokens;
    drop(log);
    let after = evaluator.evaluate_greedy(&inference_policy, &test_prompts, &mut *reward_fn)?;
    print_comparison(&test_questions, &before, &after);
    println!(
        "\n{n_tokens} tokens were sampled. The policy learned mostly the format; learning \
         arithmetic takes longer: part_9 train"
    );
    Ok(())
}

/// Fine-tunes a new model on demonstrations of `questions`.
fn fine_tune(
    args: &DemoArgs,
    questions: &[ArithmeticQuestion],
    device: &Device,
) -> Result<(TrainState, ChatTokenizer)> {
    let (seed, steps) = (args.compute.seed, args.sft_steps.get());
    println!(
        "SFT of a small model on one-digit sums: {steps} steps of {SFT_BATCH_SIZE} demonstrations, \
         many of which end with a full stop"
    );
    let base = BaseModelConfig { n_embd: 64, steps: 0, ..BaseModelConfig::default() };
    let mut checkpoint = pretrain(base, seed, device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let model_config = *checkpoint.model.config();
    let examples = demonstrations(questions, steps * SFT_BATCH_SIZE, seed);
    let data = tokenize(&examples, &chat_tokenizer, model_config.context_len)?;
    let config = TrainConfig::with_defaults(SFT_BATCH_SIZE, steps, 3e-3, seed);
    let mut train_state = TrainState::new(model_config, checkpoint.parameters, config.optimizer)?;
    let mut log = sft::SftLog::new(steps, steps / 20, 0, steps)?;
    let outputs = RunOutputs::default();
    sft::train(&mut train_state, &data.examples, &config, None, &outputs, &mut log)?;
    Ok((train_state, chat_tokenizer))
}

fn grpo_config(stop_token_ids: Vec<u32>, steps: usize, seed: u64) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let rollout =
        RolloutConfig { group_size: 8, sampler, max_new_tokens: MAX_NEW_TOKENS, stop_token_ids };
    let defaults = GrpoConfig::with_defaults(16, rollout, LrSchedule::cosine(4e-4, steps), seed);
    let kl = Some((KlLoss::K3Weighted, 0.01));
    GrpoConfig { objective: Objective { kl, ..defaults.objective }, ..defaults }
}

/// All one-digit sums and differences in all phrasings, split into training and test: one phrasing
/// of each problem is held out.
fn train_test_split() -> (Vec<ArithmeticQuestion>, Vec<ArithmeticQuestion>) {
    let problems = (0..200).map(|i| {
        let operation = if i % 2 == 0 { Operation::Add } else { Operation::Subtract };
        ArithmeticProblem { left: i / 20, operation, right: i / 2 % 10 }
    });
    let all = problems.enumerate().flat_map(|(i, problem)| {
        (0..ArithmeticQuestion::N_PHRASINGS)
            .map(move |phrasing| (i, ArithmeticQuestion { problem, phrasing }))
    });
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (i, question) in all {
        let held_out = (i / 2 + i / 20) % ArithmeticQuestion::N_PHRASINGS == question.phrasing;
        if held_out { test.push(question) } else { train.push(question) }
    }
    Rng::new(0).shuffle(&mut test);
    (train, test)
}

fn to_examples(questions: &[ArithmeticQuestion]) -> Vec<Example> {
    questions.iter().map(|question| question.to_example()).collect()
}

/// `n` demonstrations of random `questions`, some with a full stop after the answer.
fn demonstrations(questions: &[ArithmeticQuestion], n: usize, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let demonstration = |_| {
        let question = questions[rng.below(questions.len())];
        let is_noisy =
            NOISY_PHRASINGS.contains(&question.phrasing) && rng.uniform() < NOISE_PROBABILITY;
        let mut example = question.to_example();
        if is_noisy {
            example.completion.push('.');
        }
        example
    };
    (0..n).map(demonstration).collect()
}

fn print_comparison(
    questions: &[ArithmeticQuestion],
    (before, before_completions): &(GrpoEvalMetrics, Vec<ScoredCompletion>),
    (after, after_completions): &(GrpoEvalMetrics, Vec<ScoredCompletion>),
) {
    println!("\n{:42}  {:>7}  {:>7}  {:>7}", "test prompts", "before", "after", "answer");
    let completions = before_completions.iter().zip(after_completions);
    for (question, (before, after)) in questions.iter().zip(completions).take(N_SHOWN) {
        let (text, answer) = (question.text(), question.answer());
        println!("{text:42}  {:>7}  {:>7}  {answer:>7}", before.text, after.text);
    }
    println!();
    for (name, before, after) in [
        ("exact match", before.exact_match, after.exact_match),
        ("relaxed match", before.relaxed_match, after.relaxed_match),
    ] {
        println!("{name:42}  {before:>7.3}  {after:>7.3}");
    }
}
