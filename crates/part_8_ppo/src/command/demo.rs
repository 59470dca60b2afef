//! Demo of part 8: a small model is fine-tuned on sums, some with a full stop after the answer. A
//! rule rewards the bare number, and PPO raises the probability of completions with a high reward.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations, test_examples};
use experiment::flags::ComputeFlags;
use experiment::{Run, RunLog, RunLogConfig, TrainState};
use modern::{Checkpoint, GptModern};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::base_model::{BaseModelConfig, finetune, pretrain};
use sft::evaluation::print_before_and_after;
use sft::metrics::exact_match;
use sft::{ChatTokenizer, TrainConfig};
use tensor_core::{AdamWConfig, Rng};

use super::eval::print_comparison;
use crate::completion_eval::CompletionEvalConfig;
use crate::reference::create_reference_model;
use crate::{
    ActorCritic, CriticBackbone, PpoConfig, PpoContext, PpoValidator, PromptExample, PromptLoader,
    RewardFn, RewardInput, RolloutConfig, Scoring, compare_to_reference, prompts, train,
};

/// Optimizer steps of pretraining.
const PRETRAIN_STEPS: usize = 40;
/// Optimizer steps of SFT.
const SFT_STEPS: usize = 120;
/// Held-out prompts of the evaluation.
const N_TEST_PROMPTS: usize = 200;
/// Largest number of tokens per completion.
const MAX_NEW_TOKENS: usize = 8;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// PPO steps
    #[arg(long, value_name = "N", default_value = "40")]
    steps: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let seed = args.compute.seed;
    println!(
        "SFT of a small model on sums; some demonstrations have a full stop after the number."
    );
    let mut checkpoint = pretrain_and_finetune(seed, &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let model = *checkpoint.model.config();
    let optimizer = AdamWConfig { beta2: 0.99, weight_decay: 0., ..AdamWConfig::default() };
    let policy = TrainState::new(checkpoint.parameters, optimizer)?;
    let reference = create_reference_model(&model, &policy.parameters)?;
    let config = ppo_config(args.steps.get(), &chat_tokenizer, seed);
    let (train_prompts, test_prompts) = prompt_sets(model.context_len, &chat_tokenizer, seed)?;
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 100,
    };
    let validator = PpoValidator {
        prompts: &test_prompts,
        reward_shaping: &config.reward_shaping,
        eval_config,
        interval: 0,
        target_reward: None,
        model_saver: None,
    };
    println!("PPO, {} steps, reward 0.5 for a bare number and 1 for the right one:", args.steps);
    let mut actor_critic = ActorCritic::new(
        model,
        policy,
        CriticBackbone::Shared,
        AdamWConfig::default().into(),
        config.kl_controller,
    )?;
    let mut reward_fn = demo_reward_fn();
    let scoring = Scoring::from_fn(&chat_tokenizer, &mut *reward_fn, Some(1.));
    let mut context = PpoContext { reference: &reference, scoring, ptx_loss: None };
    let mut prompts = PromptLoader::new(train_prompts, seed)?;
    let mut log =
        RunLog::new(RunLogConfig::rewards(args.steps.get(), config.schedule.warmup_steps, 1), 0)?;
    let run = Run::default();
    train(&mut actor_critic, &mut context, &mut prompts, &config, &validator, &run, &mut log)?;
    log.finish()?;
    let policy = actor_critic.models()?.rollout_policy;
    print_before_and_after_ppo(&policy, &reference, &test_prompts, eval_config, seed)?;
    println!(
        "\nThe model has learned the form. To be right, start from a model that can add: \
         part_8 train"
    );
    Ok(())
}

/// Prints some completions of `policy` and of `reference`, the policy before PPO, and their
/// comparison.
fn print_before_and_after_ppo(
    policy: &GptModern,
    reference: &GptModern,
    prompts: &[PromptExample],
    eval_config: CompletionEvalConfig<'_>,
    seed: u64,
) -> Result<()> {
    let (comparison, [after, before]) = compare_to_reference(
        policy,
        reference,
        prompts,
        eval_config,
        modern::SamplingStrategy::Greedy,
        &mut *demo_reward_fn(),
        &mut Rng::new(seed),
    )?;
    print_before_and_after(
        prompts.iter().map(|prompt| &prompt.example),
        before.iter().map(|completion| completion.text.as_str()),
        after.iter().map(|completion| completion.text.as_str()),
    );
    print_comparison(&comparison);
    Ok(())
}

/// Prompts to train on, and held-out prompts.
fn prompt_sets(
    context_len: usize,
    chat_tokenizer: &ChatTokenizer,
    seed: u64,
) -> Result<(Vec<PromptExample>, Vec<PromptExample>)> {
    let tokenize =
        |examples| prompts::tokenize_prompts(examples, chat_tokenizer, context_len, MAX_NEW_TOKENS);
    let (train, _) = tokenize(demonstrations(20_000, DemonstrationStyle::Clean, seed))?;
    let (mut test, _) = tokenize(test_examples(ProblemSet::Sums))?;
    test.truncate(N_TEST_PROMPTS);
    Ok((train, test))
}

/// Reward function of the demo: 1 for the right number, 0.5 for another, 0 for anything else.
fn demo_reward_fn() -> Box<RewardFn> {
    let reward = |input: &RewardInput<'_>| {
        let number = input.terminated() && input.completion.trim().parse::<i64>().is_ok();
        let right = exact_match(input.completion, &input.example.completion);
        if number && right {
            1.
        } else if number {
            0.5
        } else {
            0.
        }
    };
    Box::new(move |inputs, _| Ok(inputs.iter().map(reward).collect()))
}

/// Small model that was pretrained, and fine-tuned on noisy demonstrations.
fn pretrain_and_finetune(seed: u64, device: &Device) -> Result<Checkpoint> {
    let base = BaseModelConfig { steps: PRETRAIN_STEPS, ..BaseModelConfig::default() };
    let examples = demonstrations(64 * SFT_STEPS, DemonstrationStyle::Noisy, seed);
    let config = TrainConfig::with_defaults(64, SFT_STEPS, 1e-3, seed);
    finetune(pretrain(base, seed, device)?, &examples, &config)
}

fn ppo_config(steps: usize, chat_tokenizer: &ChatTokenizer, seed: u64) -> PpoConfig {
    let rollout = RolloutConfig::new(
        8,
        modern::Sampler::new(modern::SamplingStrategy::new(1., None, None, None)),
        MAX_NEW_TOKENS,
        chat_tokenizer.stop_token_ids().to_vec(),
    );
    let schedule = LrSchedule {
        peak_lr: 3e-4,
        min_lr: 3e-5,
        warmup_steps: 2,
        total_steps: steps,
        decay: DecayShape::Cosine,
    };
    let defaults = PpoConfig::with_defaults(16, rollout, schedule, seed);
    PpoConfig { critic_lr_multiplier: 1., ..defaults }
}
