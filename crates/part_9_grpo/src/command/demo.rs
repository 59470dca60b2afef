//! Demo: a small model is fine-tuned on one-digit sums, and most demonstrations of half of the
//! phrasings have a full stop after the answer. A reward for the bare number then removes the full
//! stop, without further demonstrations: by REINFORCE, by RLOO and by GRPO.

use anyhow::Result;
use candle_core::Device;
use datasets::Example;
use datasets::arithmetic::{ArithmeticProblem, Operation};
use datasets::arithmetic_questions::ArithmeticQuestion;
use modern::{Checkpoint, Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::reference::copy_parameters;
use ppo::{CompletionEvalConfig, PromptExample, RolloutConfig, ScoredCompletion};
use scaling::LrSchedule;
use sft::base_model::{BaseModelConfig, finetune, pretrain};
use sft::{ChatTokenizer, TrainConfig, one_line};
use tensor_core::Rng;

use super::arguments::DemoArgs;
use crate::config::GrpoConfig;
use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator};
use crate::method::Method;
use crate::task::Task;
use crate::training::train_in_memory;
use crate::validator::GrpoValidator;

/// Phrasings whose demonstrations mostly end with a full stop.
const NOISY_PHRASINGS: [usize; 6] = [0, 2, 4, 6, 8, 10];
const NOISE_PROBABILITY: f64 = 0.8;
/// Demonstrations per SFT step.
const SFT_BATCH_SIZE: usize = 64;
/// Largest number of tokens per completion.
const MAX_NEW_TOKENS: usize = 6;
/// Number of prompts whose completions are printed.
const N_SHOWN: usize = 6;

/// Greedy completions of the test prompts after training with a method, and their metrics.
struct MethodResult {
    method: Method,
    metrics: GrpoEvalMetrics,
    completions: Vec<ScoredCompletion>,
    n_tokens: usize,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (seed, steps) = (args.compute.seed, args.steps.get());
    let (train_questions, test_questions) = train_test_split();
    let mut checkpoint = pretrain_and_finetune(args, &train_questions, &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let model_config = *checkpoint.model.config();

    let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
    let prompts = |questions: &[ArithmeticQuestion]| -> Result<Vec<PromptExample>> {
        let examples = to_examples(questions);
        let context_len = model_config.context_len;
        Ok(tokenize_prompts(examples, &chat_tokenizer, context_len, MAX_NEW_TOKENS)?.0)
    };
    let (train_prompts, test_prompts) = (prompts(&train_questions)?, prompts(&test_questions)?);
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 200,
    };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let validator = GrpoValidator {
        prompts: &test_prompts,
        evaluator,
        interval: steps.div_ceil(3),
        model_saver: None,
    };
    let (metrics_before, completions_before) =
        evaluator.evaluate_greedy(&checkpoint.model, &test_prompts, &mut *reward_fn, 0)?;
    let mut results = Vec::new();
    for method in Method::ALL {
        let config = grpo_config(method, chat_tokenizer.stop_token_ids().to_vec(), steps, seed);
        println!(
            "\n{}: {} completions for each of {} prompts per step; only the bare number is \
             rewarded",
            method.name(),
            config.rollout.group_size,
            config.prompts_per_step
        );
        let parameters = copy_parameters(&model_config, &checkpoint.parameters)?;
        let prompts = train_prompts.clone();
        let reward_fn = &mut *reward_fn;
        let policy =
            train_in_memory(&model_config, parameters, prompts, &config, &validator, reward_fn)?;
        let n_tokens = policy.progress.n_tokens();
        let (metrics, completions) =
            evaluator.evaluate_greedy(&policy.models.inference, &test_prompts, reward_fn, 0)?;
        results.push(MethodResult { method, metrics, completions, n_tokens });
    }
    print_completions(&test_questions, &completions_before, &results);
    print_table(&metrics_before, &results)?;
    println!(
        "\nThe policy learned mostly the format; learning arithmetic takes longer: part_9 train"
    );
    Ok(())
}

/// New model, fine-tuned on demonstrations of `questions`.
fn pretrain_and_finetune(
    args: &DemoArgs,
    questions: &[ArithmeticQuestion],
    device: &Device,
) -> Result<Checkpoint> {
    let (seed, steps) = (args.compute.seed, args.sft_steps.get());
    println!(
        "SFT of a small model on one-digit sums: {steps} steps of {SFT_BATCH_SIZE} demonstrations, \
         many of which end with a full stop"
    );
    let base = BaseModelConfig { n_embd: 64, steps: 0, ..BaseModelConfig::default() };
    let examples = demonstrations(questions, steps * SFT_BATCH_SIZE, seed);
    let config = TrainConfig::with_defaults(SFT_BATCH_SIZE, steps, 3e-3, seed);
    finetune(pretrain(base, seed, device)?, &examples, &config)
}

fn grpo_config(method: Method, stop_token_ids: Vec<u32>, steps: usize, seed: u64) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let rollout = RolloutConfig::new(8, sampler, MAX_NEW_TOKENS, stop_token_ids);
    let schedule = LrSchedule::cosine(4e-4, steps);
    GrpoConfig::with_defaults(16, rollout, schedule, seed).with_method(method)
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

/// Prints the completions of some prompts before training and after each method.
fn print_completions(
    questions: &[ArithmeticQuestion],
    before: &[ScoredCompletion],
    results: &[MethodResult],
) {
    print!("\n{:42}  {:>9}", "test prompts", "before");
    results.iter().for_each(|result| print!("  {:>9}", result.method.name()));
    println!("  {:>9}", "answer");
    for (i, question) in questions.iter().enumerate().take(N_SHOWN) {
        print!("{:42}  {:>9}", question.text(), one_line(&before[i].text));
        results.iter().for_each(|result| print!("  {:>9}", one_line(&result.completions[i].text)));
        println!("  {:>9}", question.answer());
    }
}

/// Prints the metrics of each method.
fn print_table(before: &GrpoEvalMetrics, results: &[MethodResult]) -> Result<()> {
    let before = before.matches()?;
    println!(
        "\n{:9}  {:>18}  {:>5}  {:>20}  {:>5}  {:>14}",
        "method", "exact match before", "after", "relaxed match before", "after", "tokens sampled"
    );
    for MethodResult { method, metrics, n_tokens, .. } in results {
        let after = metrics.matches()?;
        println!(
            "{:9}  {:>18.3}  {:>5.3}  {:>20.3}  {:>5.3}  {n_tokens:>14}",
            method.name(),
            before.exact_match,
            after.exact_match,
            before.relaxed_match,
            after.relaxed_match
        );
    }
    Ok(())
}
