//! The demo: a small model is shown sums by people some of whom write a full stop after the number. A rule that wants the bare number
//! scores what it answers, and PPO raises the probability of what scores.

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

/// Optimizer steps of pretraining, and of showing how to answer.
const PRETRAIN_AND_SFT_STEPS: [usize; 2] = [40, 120];
/// Questions that are asked before and after, and how many of them are shown.
const N_TEST_PROMPTS: usize = 200;
const N_SHOWN: usize = 6;
const MAX_NEW_TOKENS: usize = 8;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let seed = args.compute.seed;
    println!(
        "A small model is shown sums; some of its teachers write a full stop after the number."
    );
    let mut checkpoint = pretrain(
        BaseModelConfig { steps: PRETRAIN_AND_SFT_STEPS[0], ..BaseModelConfig::default() },
        seed,
        &device,
    )?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let policy = pretrain_and_finetune(checkpoint, &speech, seed)?;
    let reference = create_reference_model(&policy)?;
    let context = policy.config.context_len;

    let config = ppo_config(args.steps.get(), &speech, seed);
    let examples = demonstrations(20_000, DemonstrationStyle::Clean, seed);
    let (questions, _) = prompts::tokenize_prompts(examples, &speech, context, MAX_NEW_TOKENS)?;
    let (mut asked, _) = prompts::tokenize_prompts(
        test_examples(ProblemSet::Sums),
        &speech,
        context,
        MAX_NEW_TOKENS,
    )?;
    asked.truncate(N_TEST_PROMPTS);
    let asking = CompletionEvalConfig {
        chat_tokenizer: &speech,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 100,
    };
    let exam =
        PpoValidator { prompts: &asked, eval_config: asking, interval: 0, target_reward: None };
    println!(
        "A rule scores its answers: 0.5 for a bare number, 1 for the right one. PPO, {} steps:",
        args.steps
    );
    let mut learner = ActorCritic::new(
        policy,
        CriticBackbone::Shared,
        AdamWConfig::default(),
        config.kl_controller,
    )?;
    let mut scorer = demo_reward_fn();
    let mut around = PpoContext {
        reference: &reference,
        chat_tokenizer: &speech,
        reward_fn: &mut *scorer,
        ptx_loss: None,
    };
    let mut prompts = PromptLoader::new(questions, seed)?;
    let mut log = PpoLog::new(config.schedule.total_steps, 0, 1)?;
    train(
        &mut learner,
        &mut around,
        &mut prompts,
        (&config, &exam),
        &RunOutputs::default(),
        &mut log,
    )?;
    log.finish()?;
    let policy = learner.models()?.rollout_policy;
    let both = [&policy, &reference];
    let (found, [after, before]) = compare_to_reference(
        both,
        &asked,
        asking,
        modern::SamplingStrategy::Greedy,
        &mut *demo_reward_fn(),
        &mut Rng::new(seed),
    )?;
    print_completions(&asked, [&before, &after]);
    print_comparison(&found);
    println!(
        "\nIt has learned the form; to be right it has to begin with a model that can add: part_8 train"
    );
    Ok(())
}

/// Some answers before and after.
fn print_completions(asked: &[PromptExample], [before, after]: [&[ScoredCompletion]; 2]) {
    println!("\n{:42}  {:>8}  {:>8}  {:>8}", "held out", "before", "after", "wanted");
    for i in 0..N_SHOWN.min(asked.len()) {
        let example = &asked[i].example;
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

/// 1 for the right number, 0.5 for another, 0 for anything else.
fn demo_reward_fn() -> Box<RewardFn> {
    let score = |reply: &RewardInput<'_>| {
        let number = reply.terminated && reply.completion.trim().parse::<i64>().is_ok();
        let right = exact_match(reply.completion, &reply.example.completion);
        if number && right {
            1.
        } else if number {
            0.5
        } else {
            0.
        }
    };
    Box::new(move |replies, _| Ok(replies.iter().map(score).collect()))
}

/// The model after it was shown how to answer.
fn pretrain_and_finetune(
    checkpoint: Checkpoint,
    speech: &ChatTokenizer,
    seed: u64,
) -> Result<TrainState> {
    let steps = PRETRAIN_AND_SFT_STEPS[1];
    let Checkpoint { model, parameters, .. } = checkpoint;
    let config = TrainConfig::with_defaults(64, steps, 1e-3, seed);
    let demos = demonstrations(64 * steps, DemonstrationStyle::Noisy, seed);
    let demos = tokenize(&demos, speech, model.config().context_len)?.examples;
    let mut tuning = TrainState::new(*model.config(), parameters, config.optimizer)?;
    let mut log = sft::SftLog::new(steps, steps / 20, 0, steps)?;
    sft::train(&mut tuning, &demos, &config, None, &RunOutputs::default(), &mut log)?;
    // PPO begins anew: its own moments, from step 0.
    TrainState::new(
        tuning.config,
        tuning.parameters,
        AdamWConfig { weight_decay: 0., ..config.optimizer },
    )
}

fn ppo_config(steps: usize, speech: &ChatTokenizer, seed: u64) -> PpoConfig {
    PpoConfig {
        prompts_per_step: 16,
        rollout: crate::RolloutConfig {
            group_size: 8,
            sampler: modern::Sampler::new(modern::SamplingStrategy::new(1., None, None, None)),
            max_new_tokens: MAX_NEW_TOKENS,
            stop_token_ids: speech.stop_token_ids().to_vec(),
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
