//! A small PPO run for tests: a model of one block, six prompts, a few steps.

use anyhow::Result;
use candle_core::DType;
use datasets::Example;
use experiment::{Run, RunLog, RunLogConfig, TrainState};
use model_io::ModelConfig;
use modern::GptModern;
use ranks::Ranks;
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::{ChatFormat, ChatTokenizer, ModelSaver, bpe_tokenizer};
use tensor_core::{AdamWConfig, Parameters, Rng};

use super::CPU;
use crate::kl::KlController;
use crate::prompts::{prompt_ids, tokenize_prompts};
use crate::rewards::TruncationHandling;
use crate::{
    ActorCritic, CompletionEvalConfig, CriticBackbone, PpoConfig, PpoContext, PpoExperience,
    PpoValidator, PromptExample, PromptLoader, PtxLoss, RewardFn, RewardInput, RolloutConfig,
    ScoredRollouts, Scoring, rollout, train,
};

pub(super) fn chat_tokenizer() -> Result<ChatTokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    let tokenizer = bpe_tokenizer::train_bpe([text; 4].into_iter(), 320)?;
    let template = sft::template::chat_template(ChatFormat::Plain, &tokenizer, None)?;
    let end = tokenizer.eos().expect("an end");
    ChatTokenizer::new(tokenizer, template, vec![end])
}

pub(super) fn model_config(chat_tokenizer: &ChatTokenizer) -> ModelConfig {
    let vocab_size = chat_tokenizer.tokenizer.vocab_size();
    ModelConfig { vocab_size, ..ModelConfig::byte_level(24, 1, 2, 16) }
}

pub(super) fn prompt_examples(chat_tokenizer: &ChatTokenizer) -> Result<Vec<PromptExample>> {
    let examples = (0..6).map(|i| Example::new(format!("What is {i} + 7?"), format!("{}", i + 7)));
    Ok(tokenize_prompts(examples.collect(), chat_tokenizer, 24, 4)?.0)
}

pub(super) fn config(steps: usize, stop: u32) -> PpoConfig {
    let rollout = RolloutConfig::new(
        4,
        modern::Sampler::new(modern::SamplingStrategy::new(1., None, None, None)),
        4,
        vec![stop],
    );
    let schedule = LrSchedule {
        peak_lr: 5e-3,
        min_lr: 5e-3,
        warmup_steps: 1,
        total_steps: steps,
        decay: DecayShape::Constant,
    };
    let mut config = PpoConfig::with_defaults(4, rollout, schedule, 3);
    config.reward_shaping.truncation = TruncationHandling::Terminal;
    config.reward_shaping.missing_eos_penalty = 0.;
    config.kl_controller =
        KlController::Adaptive { init_kl_coef: 0.01, target: 0.5, horizon: 100. };
    config.critic_lr_multiplier = 2.;
    config
}

/// Settings with many stop tokens, so that some completions terminate and some are truncated.
pub(super) fn ending(steps: usize) -> PpoConfig {
    let mut config = config(steps, 0);
    config.rollout.stop_token_ids = (0..80).collect();
    config
}

pub(super) fn actor_critic(
    chat_tokenizer: &ChatTokenizer,
    trunk: CriticBackbone,
    config: &PpoConfig,
) -> Result<ActorCritic> {
    actor_critic_in(DType::F32, chat_tokenizer, trunk, config)
}

/// Actor-critic that computes in `dtype`.
pub(super) fn actor_critic_in(
    dtype: DType,
    chat_tokenizer: &ChatTokenizer,
    trunk: CriticBackbone,
    config: &PpoConfig,
) -> Result<ActorCritic> {
    let model = model_config(chat_tokenizer);
    let mut parameters = Parameters::seeded(5, DType::F32, &CPU);
    GptModern::new(&model, parameters.root())?;
    let policy = TrainState::new(parameters, AdamWConfig::default())?.with_compute_dtype(dtype)?;
    ActorCritic::new(model, policy, trunk, AdamWConfig::default().into(), config.kl_controller)
}

/// Copy of the initial policy.
pub(super) fn reference(chat_tokenizer: &ChatTokenizer) -> Result<GptModern> {
    let mut parameters = Parameters::seeded(5, DType::F32, &CPU);
    let model = GptModern::new(&model_config(chat_tokenizer), parameters.root())?;
    Ok(GptModern::new(model.config(), parameters.for_inference().root())?)
}

/// Fraction of a completion's characters that are lowercase letters.
pub(super) fn letters() -> Box<RewardFn> {
    let score = |reply: &RewardInput<'_>| {
        let n = reply.completion.chars().count().max(1) as f64;
        reply.completion.chars().filter(char::is_ascii_lowercase).count() as f64 / n
    };
    Box::new(move |replies, _| Ok(replies.iter().map(score).collect()))
}

pub(super) fn run(
    actor_critic: &mut ActorCritic,
    reward_fn: &mut RewardFn,
    config: &PpoConfig,
    run: &Run,
    mixed: bool,
    model_saver: Option<&ModelSaver>,
) -> Result<Option<f64>> {
    let log = RunLogConfig::rewards(config.schedule.total_steps, 1, 1);
    let mut log = RunLog::new(log, actor_critic.policy.progress.step)?;
    run_with_log(actor_critic, reward_fn, config, run, mixed, model_saver, &mut log)
}

/// As [`run`], with the log `log`.
pub(super) fn run_with_log(
    actor_critic: &mut ActorCritic,
    reward_fn: &mut RewardFn,
    config: &PpoConfig,
    run: &Run,
    mixed: bool,
    model_saver: Option<&ModelSaver>,
    log: &mut RunLog,
) -> Result<Option<f64>> {
    let chat_tokenizer = chat_tokenizer()?;
    let (reference, questions) = (reference(&chat_tokenizer)?, prompt_examples(&chat_tokenizer)?);
    let eval_config =
        CompletionEvalConfig { chat_tokenizer: &chat_tokenizer, max_new_tokens: 4, batch_size: 4 };
    let validator = PpoValidator {
        prompts: &questions,
        reward_shaping: &config.reward_shaping,
        eval_config,
        interval: 0,
        target_reward: None,
        model_saver,
    };
    let examples: Vec<Example> =
        questions.iter().map(|question| question.example.clone()).collect();
    let mix = match mixed {
        true => {
            let examples = sft::tokenize(&examples, &chat_tokenizer, 24)?.examples;
            Some(PtxLoss::new(examples, 0.5, 2, 3))
        }
        false => None,
    };
    let scoring = Scoring::from_fn(&chat_tokenizer, reward_fn, Some(1.));
    let mut context = PpoContext { reference: &reference, scoring, ptx_loss: mix };
    let mut prompts = PromptLoader::new(questions.clone(), config.seed)?;
    train(actor_critic, &mut context, &mut prompts, config, &validator, run, log)?;
    Ok(actor_critic.policy.progress.selection.best.map(|best| best.score.value()))
}

pub(super) fn bits(train_state: &TrainState) -> Result<Vec<Vec<f32>>> {
    train_state.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

/// Experience of a rollout in which every third completion gets reward 1 and the others 0.
pub(super) fn experience_of(
    actor_critic: &mut ActorCritic,
    chat_tokenizer: &ChatTokenizer,
    config: &PpoConfig,
) -> Result<PpoExperience> {
    let scored_rollouts = scored_rollouts(actor_critic, chat_tokenizer, config)?;
    PpoExperience::from_rollouts(
        scored_rollouts,
        &actor_critic.models()?,
        &reference(chat_tokenizer)?,
        config,
        0.1,
        &Ranks::Alone,
    )
}

/// Rollout of the small run.
pub(super) fn scored_rollouts(
    actor_critic: &mut ActorCritic,
    chat_tokenizer: &ChatTokenizer,
    config: &PpoConfig,
) -> Result<ScoredRollouts> {
    let (prompts, rng) = (prompt_examples(chat_tokenizer)?, &mut Rng::new(1));
    let ids = prompt_ids(&prompts);
    let groups = rollout(&actor_critic.models()?.rollout_policy, &ids, &config.rollout, rng)?;
    let mut every_third: Box<RewardFn> = Box::new(|inputs, _| {
        Ok((0..inputs.len()).map(|i| f64::from(u8::from(i % 3 == 0))).collect())
    });
    ScoredRollouts::new(groups, &prompts, chat_tokenizer, &mut *every_third, rng)
}
