//! Demo of part 8: a small model is fine-tuned on sums, some with a full stop after the answer. A
//! rule rewards the bare number, and PPO raises the probability of completions with a high reward.

use anyhow::Result;
use modern::Checkpoint;
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::arithmetic::ProblemSet;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::base_model::{BaseModelConfig, pretrain};
use sft::metrics::exact_match;
use sft::source::test_examples;
use sft::{ChatTokenizer, RunOutputs, TrainConfig, TrainState, tokenize};
use tensor_core::{AdamWConfig, Rng};

use super::arguments::DemoArgs;
use super::report::print_comparison;
use crate::completion_eval::{CompletionEvalConfig, ScoredCompletion};
use crate::losses::LossWeights;
use crate::reference::create_reference_model;
use crate::rewards::RewardScaling;
use crate::{
    ActorCritic, Clip, CriticBackbone, GaeConfig, KlController, KlEstimator, PpoConfig, PpoContext,
    PpoLog, PpoUpdateConfig, PpoValidator, PromptExample, PromptLoader, RewardFn, RewardInput,
    RewardShapingConfig, TruncationHandling, compare_to_reference, prompts, train,
};

/// Optimizer steps of pretraining and of SFT.
const PRETRAIN_AND_SFT_STEPS: [usize; 2] = [40, 120];
/// Held-out prompts of the evaluation.
const N_TEST_PROMPTS: usize = 200;
/// Prompts of which the completions are printed.
const N_SHOWN: usize = 6;
/// Largest number of tokens per completion.
const MAX_NEW_TOKENS: usize = 8;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let seed = args.compute.seed;
    println!(
        "SFT of a small model on sums; some demonstrations have a full stop after the number."
    );
    let mut checkpoint = pretrain(
        BaseModelConfig { steps: PRETRAIN_AND_SFT_STEPS[0], ..BaseModelConfig::default() },
        seed,
        &device,
    )?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let policy = pretrain_and_finetune(checkpoint, &chat_tokenizer, seed)?;
    let reference = create_reference_model(&policy)?;
    let config = ppo_config(args.steps.get(), &chat_tokenizer, seed);
    let (train_prompts, test_prompts) = prompt_sets(&policy, &chat_tokenizer, seed)?;
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 100,
    };
    let validator =
        PpoValidator { prompts: &test_prompts, eval_config, interval: 0, target_reward: None };
    println!("PPO, {} steps, reward 0.5 for a bare number and 1 for the right one:", args.steps);
    let mut actor_critic = ActorCritic::new(
        policy,
        CriticBackbone::Shared,
        AdamWConfig::default(),
        config.kl_controller,
    )?;
    let mut reward_fn = demo_reward_fn();
    let mut context = PpoContext {
        reference: &reference,
        chat_tokenizer: &chat_tokenizer,
        reward_fn: &mut *reward_fn,
        ptx_loss: None,
    };
    let mut prompts = PromptLoader::new(train_prompts, seed)?;
    let mut log = PpoLog::new(config.schedule.total_steps, 0, 1)?;
    let (settings, outputs) = ((&config, &validator), RunOutputs::default());
    train(&mut actor_critic, &mut context, &mut prompts, settings, &outputs, &mut log)?;
    log.finish()?;
    let policy = actor_critic.models()?.rollout_policy;
    let models = [&policy, &reference];
    let (comparison, [after, before]) = compare_to_reference(
        models,
        &test_prompts,
        eval_config,
        modern::SamplingStrategy::Greedy,
        &mut *demo_reward_fn(),
        &mut Rng::new(seed),
    )?;
    print_completions(&test_prompts, [&before, &after]);
    print_comparison(&comparison);
    println!(
        "\nThe model has learned the form. To be right, start from a model that can add: \
         part_8 train"
    );
    Ok(())
}

/// Prompts to train on, and held-out prompts.
fn prompt_sets(
    policy: &TrainState,
    chat_tokenizer: &ChatTokenizer,
    seed: u64,
) -> Result<(Vec<PromptExample>, Vec<PromptExample>)> {
    let tokenize = |examples| {
        let context_len = policy.config.context_len;
        prompts::tokenize_prompts(examples, chat_tokenizer, context_len, MAX_NEW_TOKENS)
    };
    let (train, _) = tokenize(demonstrations(20_000, DemonstrationStyle::Clean, seed))?;
    let (mut test, _) = tokenize(test_examples(ProblemSet::Sums))?;
    test.truncate(N_TEST_PROMPTS);
    Ok((train, test))
}

/// Prints some completions before and after PPO.
fn print_completions(test_prompts: &[PromptExample], [before, after]: [&[ScoredCompletion]; 2]) {
    println!("\n{:42}  {:>8}  {:>8}  {:>8}", "held-out prompt", "before", "after", "right");
    for i in 0..N_SHOWN.min(test_prompts.len()) {
        let example = &test_prompts[i].example;
        let text = |text: &str| text.trim().replace('\n', "⏎").chars().take(8).collect::<String>();
        println!(
            "{:42}  {:>8}  {:>8}  {:>8}",
            example.prompt[0].content,
            text(&before[i].text),
            text(&after[i].text),
            example.completion
        );
    }
    println!();
}

/// Reward function of the demo: 1 for the right number, 0.5 for another, 0 for anything else.
fn demo_reward_fn() -> Box<RewardFn> {
    let reward = |input: &RewardInput<'_>| {
        let number = input.terminated && input.completion.trim().parse::<i64>().is_ok();
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

/// Base model after SFT, with a fresh optimizer for PPO.
fn pretrain_and_finetune(
    checkpoint: Checkpoint,
    chat_tokenizer: &ChatTokenizer,
    seed: u64,
) -> Result<TrainState> {
    let steps = PRETRAIN_AND_SFT_STEPS[1];
    let Checkpoint { model, parameters, .. } = checkpoint;
    let config = TrainConfig::with_defaults(64, steps, 1e-3, seed);
    let examples = demonstrations(64 * steps, DemonstrationStyle::Noisy, seed);
    let examples = tokenize(&examples, chat_tokenizer, model.config().context_len)?.examples;
    let mut train_state = TrainState::new(*model.config(), parameters, config.optimizer)?;
    let mut log = sft::SftLog::new(steps, steps / 20, 0, steps)?;
    sft::train(&mut train_state, &examples, &config, None, &RunOutputs::default(), &mut log)?;
    // PPO starts with new optimizer moments, at step 0.
    TrainState::new(
        train_state.config,
        train_state.parameters,
        AdamWConfig { weight_decay: 0., ..config.optimizer },
    )
}

fn ppo_config(steps: usize, chat_tokenizer: &ChatTokenizer, seed: u64) -> PpoConfig {
    PpoConfig {
        prompts_per_step: 16,
        rollout: crate::RolloutConfig {
            group_size: 8,
            sampler: modern::Sampler::new(modern::SamplingStrategy::new(1., None, None, None)),
            max_new_tokens: MAX_NEW_TOKENS,
            stop_token_ids: chat_tokenizer.stop_token_ids().to_vec(),
        },
        reward_shaping: RewardShapingConfig {
            gae: GaeConfig { gamma: 1., lambda: 0.95 },
            kl_estimator: KlEstimator::K1,
            reward_clip: None,
            truncation: TruncationHandling::default(),
            missing_eos_penalty: 1.,
            reward_scaling: RewardScaling::None,
        },
        kl_controller: KlController::Fixed(0.02),
        update: PpoUpdateConfig {
            ppo_epochs: 2,
            n_minibatches: 2,
            grad_accum_steps: 1,
            clip_range: Clip::symmetric(0.2),
            value_clip_range: Some(0.2),
            loss_weights: LossWeights { value_coef: 0.5, entropy_coef: 0. },
            early_stop_kl: None,
            max_grad_norm: 1.,
        },
        schedule: LrSchedule {
            peak_lr: 3e-4,
            min_lr: 3e-5,
            warmup_steps: 2,
            total_steps: steps,
            decay: DecayShape::Cosine,
        },
        critic_lr_multiplier: 1.,
        seed,
    }
}
