//! Algorithms that `part_9 table` compares, from one base model and with the same number of sampled
//! tokens. The policy gradients differ in their advantages and token weights alone: the clip range
//! and the KL term are the same for all, not those of a [`Method`](crate::Method), so each row has
//! the name of its baseline.

use anyhow::Result;
use candle_core::{DType, Device};
use clap::ValueEnum;
use datasets::SplitSpec;
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations};
use model_io::LoadMode;
use modern::{Checkpoint, GptModern, Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::{CompletionEvalConfig, PromptExample, RewardFn, RolloutConfig};
use scaling::LrSchedule;
use sft::finetuned::resolve_model_path;
use sft::{ChatTokenizer, TokenizedExample, TrainConfig, tokenize};
use tensor_core::AdamWConfig;

use super::ppo_run::PpoRun;
use super::table_arguments::TableArgs;
use crate::advantage::Baseline;
use crate::aggregation::Aggregation;
use crate::config::GrpoConfig;
use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator};
use crate::kl::KlLoss;
use crate::task::Task;
use crate::training::train_in_memory;
use crate::validator::GrpoValidator;

pub(super) const MAX_NEW_TOKENS: usize = 8;
pub(super) const GROUP_SIZE: usize = 16;
pub(super) const PROMPTS_PER_STEP: usize = 32;
const SFT_BATCH_SIZE: usize = 64;

/// KL coefficient β of all policy gradients, that of configs/grpo_learning.yaml.
const KL_COEF: f64 = 0.003;

/// Algorithm of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Algorithm {
    /// Policy gradient with this baseline and aggregation.
    PolicyGradient(Baseline, Aggregation),
    /// PPO of part 8 with its default settings and a critic.
    Ppo,
    /// Supervised fine-tuning on as many tokens of right answers as the others sample.
    Sft,
}

pub(crate) const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::PolicyGradient(Baseline::BatchMean, Aggregation::Constant),
    Algorithm::PolicyGradient(Baseline::LeaveOneOut, Aggregation::Constant),
    Algorithm::PolicyGradient(Baseline::GroupStd, Aggregation::Sequence),
    Algorithm::PolicyGradient(Baseline::GroupMean, Aggregation::Constant),
    Algorithm::PolicyGradient(Baseline::BestOfGroup, Aggregation::Token),
    Algorithm::Ppo,
    Algorithm::Sft,
];

impl Algorithm {
    /// Name in the table: for a policy gradient, the value of --baseline.
    pub(crate) fn name(self) -> String {
        match self {
            Self::PolicyGradient(baseline, _) => baseline
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().to_string()),
            Self::Ppo => "PPO".to_string(),
            Self::Sft => "SFT on right answers".to_string(),
        }
    }
}

/// Result of training: the model for inference, the number of sampled tokens, and exact match on
/// the validation prompts by sampled tokens, if it was measured.
pub(super) struct TrainedRun {
    pub(super) model: GptModern,
    pub(super) n_tokens: usize,
    pub(super) curve: Vec<(usize, f64)>,
}

/// Metrics of a model on the validation and the test problems.
pub(super) struct SplitMetrics {
    pub(super) validation: GrpoEvalMetrics,
    pub(super) test: GrpoEvalMetrics,
}

/// Everything that all runs share.
pub(super) struct SharedSetup<'a> {
    args: &'a TableArgs,
    device: &'a Device,
    chat_tokenizer: ChatTokenizer,
    reward_fn: Box<RewardFn>,
    train_prompts: Vec<PromptExample>,
    validation_prompts: Vec<PromptExample>,
    test_prompts: Vec<PromptExample>,
}

impl<'a> SharedSetup<'a> {
    /// Prompts of the arithmetic task for the base model `checkpoint`.
    pub(super) fn new(
        args: &'a TableArgs,
        checkpoint: &mut Checkpoint,
        device: &'a Device,
    ) -> Result<Self> {
        let chat_tokenizer = ChatTokenizer::from_checkpoint(checkpoint, None)?;
        let context_len = checkpoint.model.config().context_len;
        let prompts = |examples| -> Result<Vec<PromptExample>> {
            Ok(tokenize_prompts(examples, &chat_tokenizer, context_len, MAX_NEW_TOKENS)?.0)
        };
        let dataset = Task::Arithmetic.load_dataset(None, None, SplitSpec::Problems)?.splits;
        Ok(Self {
            args,
            device,
            train_prompts: prompts(dataset.train)?,
            validation_prompts: prompts(dataset.validation)?,
            test_prompts: prompts(Task::Arithmetic.test_examples()?)?,
            chat_tokenizer,
            reward_fn: ppo::reward_fn::exact_match_reward_fn(),
        })
    }

    /// Base model, for training.
    pub(super) fn open_base_model(args: &TableArgs, device: &Device) -> Result<Checkpoint> {
        let path = resolve_model_path(&args.policy.model)?;
        Checkpoint::open(&path, LoadMode::Training(DType::F32), device)
    }

    /// Metrics of greedy completions of `model`.
    pub(super) fn evaluate(&mut self, model: &GptModern) -> Result<SplitMetrics> {
        let evaluator = evaluator(&self.chat_tokenizer);
        let reward_fn = &mut *self.reward_fn;
        let (validation, _) =
            evaluator.evaluate_greedy(model, &self.validation_prompts, reward_fn, 0)?;
        let (test, _) = evaluator.evaluate_greedy(model, &self.test_prompts, reward_fn, 0)?;
        Ok(SplitMetrics { validation, test })
    }

    /// Trains the base model with an algorithm. `length_mean` is the mean length of the base
    /// model's completions, from which the number of steps follows.
    pub(super) fn train(
        &mut self,
        algorithm: Algorithm,
        length_mean: f64,
        seed: u64,
    ) -> Result<TrainedRun> {
        let tokens_per_step = length_mean.max(1.) * (PROMPTS_PER_STEP * GROUP_SIZE) as f64;
        let steps = (self.args.tokens.get() as f64 / tokens_per_step).ceil() as usize;
        match algorithm {
            Algorithm::PolicyGradient(baseline, aggregation) => {
                self.train_policy_gradient(baseline, aggregation, steps, seed)
            }
            Algorithm::Ppo => self.train_ppo(steps, seed),
            Algorithm::Sft => self.train_sft(seed),
        }
    }

    fn train_policy_gradient(
        &mut self,
        baseline: Baseline,
        aggregation: Aggregation,
        steps: usize,
        seed: u64,
    ) -> Result<TrainedRun> {
        let rollout = rollout_config(GROUP_SIZE, &self.chat_tokenizer);
        let schedule = LrSchedule::cosine(self.args.lr, steps);
        let mut config = GrpoConfig::with_defaults(PROMPTS_PER_STEP, rollout, schedule, seed);
        config.advantage.baseline = baseline;
        config.advantage.loss_aggregation = aggregation;
        config.objective.kl = Some((KlLoss::default(), KL_COEF));
        config.update.max_sampled_tokens = Some(self.args.tokens.get());
        let Checkpoint { model, parameters, .. } = Self::open_base_model(self.args, self.device)?;
        let validator = GrpoValidator {
            evaluator: evaluator(&self.chat_tokenizer),
            prompts: &self.validation_prompts,
            interval: steps.div_ceil(6),
            model_saver: None,
        };
        let prompts = self.train_prompts.clone();
        let reward_fn = &mut *self.reward_fn;
        let policy =
            train_in_memory(model.config(), parameters, prompts, &config, &validator, reward_fn)?;
        let (model, n_tokens) = (policy.models.inference, policy.progress.n_tokens());
        Ok(TrainedRun { model, n_tokens, curve: policy.progress.validations })
    }

    fn train_ppo(&self, steps: usize, seed: u64) -> Result<TrainedRun> {
        let run = PpoRun {
            table: self.args,
            steps,
            prompts_per_step: PROMPTS_PER_STEP,
            group_size: GROUP_SIZE,
            max_new_tokens: MAX_NEW_TOKENS,
            seed,
        };
        let (model, n_tokens) = run.train(self.device)?;
        Ok(TrainedRun { model, n_tokens, curve: Vec::new() })
    }

    /// Fine-tunes on as many tokens of right answers as the other algorithms sample.
    fn train_sft(&self, seed: u64) -> Result<TrainedRun> {
        let Checkpoint { model, parameters, .. } = Self::open_base_model(self.args, self.device)?;
        let config = model.config();
        let tokens = self.args.tokens.get();
        let examples = demonstrations(tokens / 3, DemonstrationStyle::Clean, seed);
        let data = tokenize(&examples, &self.chat_tokenizer, config.context_len)?.examples;
        let n_targets: usize = data.iter().map(TokenizedExample::n_targets).sum();
        let steps = (data.len() * tokens.min(n_targets) / n_targets / SFT_BATCH_SIZE).max(1);
        let data = &data[..data.len().min(steps * SFT_BATCH_SIZE)];
        let defaults = TrainConfig::with_defaults(SFT_BATCH_SIZE, steps, self.args.lr, seed);
        let optimizer = AdamWConfig { weight_decay: 0., ..defaults.optimizer.adamw() }.into();
        let state = sft::training::train_in_memory(
            config,
            parameters,
            data,
            &TrainConfig { optimizer, ..defaults },
        )?;
        Ok(TrainedRun {
            model: GptModern::new(config, state.parameters.for_inference().root())?,
            n_tokens: data.iter().map(TokenizedExample::n_targets).sum(),
            curve: Vec::new(),
        })
    }
}

/// Completions at temperature 1, `group_size` per prompt.
pub(super) fn rollout_config(group_size: usize, chat_tokenizer: &ChatTokenizer) -> RolloutConfig {
    RolloutConfig::new(
        group_size,
        Sampler::new(SamplingStrategy::new(1., None, None, None)),
        MAX_NEW_TOKENS,
        chat_tokenizer.stop_token_ids().to_vec(),
    )
}

fn evaluator(chat_tokenizer: &ChatTokenizer) -> GrpoEvaluator<'_> {
    let eval_config =
        CompletionEvalConfig { chat_tokenizer, max_new_tokens: MAX_NEW_TOKENS, batch_size: 100 };
    GrpoEvaluator { task: Task::Arithmetic, eval_config }
}
