//! The demo: a small model learns one-digit sums from demonstrators half of whom put a full stop after the answer. A reward for the bare
//! number then brings out what it knows, without a single demonstration more.

use anyhow::Result;
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::{CompletionEvalConfig, RolloutConfig, ScoredCompletion};
use scaling::LrSchedule;
use sft::arithmetic::{ArithmeticProblem, Operation};
use sft::arithmetic_questions::ArithmeticQuestion;
use sft::base_model::{BaseModelConfig, pretrain};
use sft::{ChatTokenizer, Example, RunOutputs, TrainConfig, TrainState, tokenize};
use tensor_core::Rng;

use super::arguments::DemoArgs;
use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator};
use crate::reference::{ReferenceModel, ReferenceUpdate};
use crate::training::GrpoValidation;
use crate::{GrpoConfig, GrpoContext, GrpoLog, Kl, Objective, RunState, Task, train};

/// The ways to ask whose answers are mostly demonstrated with a full stop.
const NOISY_PHRASINGS: [usize; 6] = [0, 2, 4, 6, 8, 10];
const NOISE_PROBABILITY: f64 = 0.8;
/// Demonstrations of a step.
const SFT_BATCH_SIZE: usize = 64;
/// Longest completion, in tokens.
const MAX_NEW_TOKENS: usize = 6;
/// Questions that are shown.
const N_SHOWN: usize = 6;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (seed, sft_steps, steps) = (args.compute.seed, args.sft_steps.get(), args.steps.get());
    println!(
        "A small model is shown one-digit sums, {sft_steps} steps of {SFT_BATCH_SIZE}; many answers end with a full stop."
    );
    let base = BaseModelConfig { n_embd: 64, steps: 0, ..BaseModelConfig::default() };
    let mut checkpoint = pretrain(base, seed, &device)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let (known, unknown) = train_test_split();
    let data = tokenize(
        &demonstrations(&known, sft_steps * SFT_BATCH_SIZE, seed),
        &speech,
        config.context_len,
    )?;
    let demonstrating = TrainConfig::with_defaults(SFT_BATCH_SIZE, sft_steps, 3e-3, seed);
    let mut tuning = TrainState::new(config, checkpoint.parameters, demonstrating.optimizer)?;
    let mut log = sft::SftLog::new(sft_steps, sft_steps / 20, 0, sft_steps)?;
    sft::train(
        &mut tuning,
        &data.examples,
        &demonstrating,
        None,
        &RunOutputs::default(),
        &mut log,
    )?;
    drop(log);

    let mut scorer = ppo::reward_fn::exact_match_reward_fn();
    let how = grpo_config(speech.stop_token_ids().to_vec(), steps, seed);
    let (asked, _) =
        tokenize_prompts(to_examples(&known), &speech, config.context_len, MAX_NEW_TOKENS)?;
    let (held_out, _) =
        tokenize_prompts(to_examples(&unknown), &speech, config.context_len, MAX_NEW_TOKENS)?;
    let asking = CompletionEvalConfig {
        chat_tokenizer: &speech,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 200,
    };
    let exam = GrpoEvaluator { task: Task::Arithmetic, eval_config: asking };
    // moments of its own
    let mut tuning = TrainState::new(config, tuning.parameters, how.update.optimizer)?;
    let twin = GptModern::new(&config, tuning.parameters.for_inference().root())?;
    let before = exam.evaluate_greedy(&twin, &held_out, &mut *scorer)?;
    println!(
        "\nThen it answers by itself, {} times each of {} questions a step, and only the bare number is rewarded:",
        how.rollout.group_size, how.prompts_per_step
    );
    let reference = Some(ReferenceModel::new(&tuning, ReferenceUpdate::Fixed)?);
    let looks = GrpoValidation { evaluator: exam, prompts: &held_out, interval: steps.div_ceil(3) };
    let mut log = GrpoLog::new(steps, 0, RunState::default(), steps)?;
    let mut around = GrpoContext { reference, reward_fn: &mut *scorer, validation: looks };
    train(&mut tuning, asked, &how, &mut around, &RunOutputs::default(), &mut log)?;
    let tokens = log.run_state.n_tokens;
    drop(log);
    let after = exam.evaluate_greedy(&twin, &held_out, &mut *scorer)?;
    print_comparison(&unknown, &before, &after);
    println!(
        "\n{tokens} tokens were drawn. What it learned is mostly form; to be right more often takes longer: part_9 train"
    );
    Ok(())
}

fn grpo_config(stop: Vec<u32>, steps: usize, seed: u64) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let rollout = RolloutConfig {
        group_size: 8,
        sampler,
        max_new_tokens: MAX_NEW_TOKENS,
        stop_token_ids: stop,
    };
    let usual = GrpoConfig::with_defaults(16, rollout, LrSchedule::cosine(4e-4, steps), seed);
    let kl = Some((Kl::K3Weighted, 0.01));
    GrpoConfig { objective: Objective { kl, ..usual.objective }, ..usual }
}

/// All one-digit sums and differences in all ways to ask: those to learn from, and those that are held out (of each problem one way).
fn train_test_split() -> (Vec<ArithmeticQuestion>, Vec<ArithmeticQuestion>) {
    let problems = (0..200).map(|i| {
        let operation = if i % 2 == 0 { Operation::Add } else { Operation::Subtract };
        ArithmeticProblem { left: i / 20, operation, right: i / 2 % 10 }
    });
    let all = problems.enumerate().flat_map(|(i, problem)| {
        (0..ArithmeticQuestion::N_PHRASINGS)
            .map(move |phrasing| (i, ArithmeticQuestion { problem, phrasing }))
    });
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (i, question) in all {
        let held_out = (i / 2 + i / 20) % ArithmeticQuestion::N_PHRASINGS == question.phrasing;
        if held_out { unknown.push(question) } else { known.push(question) }
    }
    Rng::new(0).shuffle(&mut unknown);
    (known, unknown)
}

fn to_examples(questions: &[ArithmeticQuestion]) -> Vec<Example> {
    questions.iter().map(|question| question.to_example()).collect()
}

/// `n` answers as the demonstrators give them.
fn demonstrations(known: &[ArithmeticQuestion], n: usize, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let demonstration = |_| {
        let question = known[rng.below(known.len())];
        let habit =
            NOISY_PHRASINGS.contains(&question.phrasing) && rng.uniform() < NOISE_PROBABILITY;
        let mut example = question.to_example();
        if habit {
            example.completion.push('.');
        }
        example
    };
    (0..n).map(demonstration).collect()
}

fn print_comparison(
    asked: &[ArithmeticQuestion],
    (before, a): &(GrpoEvalMetrics, Vec<ScoredCompletion>),
    (after, b): &(GrpoEvalMetrics, Vec<ScoredCompletion>),
) {
    println!("\n{:42}  {:>7}  {:>7}  {:>7}", "never seen asked so", "before", "after", "wanted");
    for i in 0..N_SHOWN.min(asked.len()) {
        let (question, wanted) = (asked[i].text(), asked[i].answer());
        println!("{question:42}  {:>7}  {:>7}  {wanted:>7}", a[i].text, b[i].text);
    }
    println!();
    for (name, of) in [
        ("right", (|found: &GrpoEvalMetrics| found.exact_match) as fn(&GrpoEvalMetrics) -> f64),
        ("right, the form forgiven", |found| found.relaxed_match),
    ] {
        println!("{name:42}  {:>7.3}  {:>7.3}", of(before), of(after));
    }
}
