//! Training on the perfectible problems: the same prompts, rewards, steps and rates for all
//! algorithms.

use anyhow::Result;
use experiment::{Run, RunLog, RunLogConfig, TrainState};
use model_io::ModelConfig;
use modern::GptModern;
use ppo::kl::KlController;
use ppo::reference::create_reference_model;
use ppo::{
    ActorCritic, CriticBackbone, PpoConfig, PpoContext, PpoValidator, PromptExample, PromptLoader,
    Scoring,
};
use scaling::LrSchedule;
use sft::ChatTokenizer;
use tensor_core::{AdamWConfig, Parameters, Rng};

use crate::command::algorithms::{GROUP_SIZE, PROMPTS_PER_STEP, rollout_config};
use crate::command::table_arguments::PerfectibleArgs;
use crate::config::GrpoConfig;
use crate::evaluation::GrpoEvaluator;
use crate::training::train_in_memory;
use crate::validator::GrpoValidator;
use crate::{Aggregation, Baseline, Method};

/// Samples per problem that measure the training accuracy.
const EVAL_SAMPLES: usize = 8;

/// Algorithm of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Algorithm {
    /// PPO of part 8, with a critic.
    Ppo,
    /// GRPO with the baseline and the aggregation of Dr. GRPO.
    DrGrpo,
    /// Method of this part.
    Method(Method),
}

pub(super) const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Ppo,
    Algorithm::Method(Method::Grpo),
    Algorithm::DrGrpo,
    Algorithm::Method(Method::Rloo),
    Algorithm::Method(Method::Reinforce),
];

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ppo => "PPO",
            Self::DrGrpo => "Dr. GRPO",
            Self::Method(Method::Reinforce) => "REINFORCE with baseline",
            Self::Method(method) => method.name(),
        }
    }
}

/// Everything that all runs share.
pub(super) struct Trainer<'a> {
    pub(super) args: &'a PerfectibleArgs,
    pub(super) evaluator: GrpoEvaluator<'a>,
    pub(super) problems: Vec<PromptExample>,
}

/// Metrics of a model on the problems that it is trained on.
pub(super) struct TrainingMetrics {
    /// Share of right completions at temperature 1.
    pub(super) training_accuracy: f64,
    /// Share of right greedy completions.
    pub(super) exact_match: f64,
    pub(super) relaxed_match: f64,
    pub(super) length_mean: f64,
}

impl Trainer<'_> {
    fn chat_tokenizer(&self) -> &ChatTokenizer {
        self.evaluator.eval_config.chat_tokenizer
    }

    pub(super) fn evaluate(&self, model: &GptModern) -> Result<TrainingMetrics> {
        let rollout = rollout_config(EVAL_SAMPLES, self.chat_tokenizer());
        let rng = &mut Rng::new(0);
        let sampled = self.evaluator.evaluate_sampled(model, &self.problems, &rollout, 1, rng)?;
        let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
        let (greedy, _) =
            self.evaluator.evaluate_greedy(model, &self.problems, &mut *reward_fn, 0)?;
        let matches = greedy.matches()?;
        Ok(TrainingMetrics {
            training_accuracy: sampled.pass_at_1,
            exact_match: matches.exact_match,
            relaxed_match: matches.relaxed_match,
            length_mean: greedy.length_mean,
        })
    }

    /// Number of steps that sample --tokens tokens, where completions have this mean length.
    pub(super) fn steps(&self, length_mean: f64) -> usize {
        let tokens_per_step = length_mean.max(1.) * (PROMPTS_PER_STEP * GROUP_SIZE) as f64;
        (self.args.table.tokens.get() as f64 / tokens_per_step).ceil() as usize
    }

    /// Trains a policy with `parameters`. Returns its model, and the number of sampled tokens.
    pub(super) fn train(
        &self,
        algorithm: Algorithm,
        model: &ModelConfig,
        parameters: Parameters,
        steps: usize,
        seed: u64,
    ) -> Result<(GptModern, usize)> {
        let mut config = match algorithm {
            Algorithm::Ppo => return self.train_ppo(*model, parameters, steps, seed),
            Algorithm::DrGrpo => self.grpo_config(Method::Grpo, steps, seed),
            Algorithm::Method(method) => self.grpo_config(method, steps, seed),
        };
        if algorithm == Algorithm::DrGrpo {
            config.advantage.baseline = Baseline::GroupMean;
            config.advantage.loss_aggregation = Aggregation::Constant;
        }
        self.train_grpo(model, parameters, &config)
    }

    /// Settings of a method, without a KL term: the policy may go as far as it likes.
    fn grpo_config(&self, method: Method, steps: usize, seed: u64) -> GrpoConfig {
        let rollout = rollout_config(GROUP_SIZE, self.chat_tokenizer());
        let schedule = LrSchedule::cosine(self.args.table.lr, steps);
        let mut config = GrpoConfig::with_defaults(PROMPTS_PER_STEP, rollout, schedule, seed)
            .with_method(method);
        (config.objective.kl, config.reference_update) = (None, None);
        config
    }

    fn train_grpo(
        &self,
        model: &ModelConfig,
        parameters: Parameters,
        config: &GrpoConfig,
    ) -> Result<(GptModern, usize)> {
        let validator = GrpoValidator {
            prompts: &self.problems,
            evaluator: self.evaluator,
            interval: 0,
            model_saver: None,
        };
        let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
        let problems = self.problems.clone();
        let policy =
            train_in_memory(model, parameters, problems, config, &validator, &mut *reward_fn)?;
        let n_tokens = policy.progress.n_tokens();
        Ok((policy.models.inference, n_tokens))
    }

    /// Trains with part 8's PPO and its defaults, without a KL term.
    fn train_ppo(
        &self,
        model: ModelConfig,
        parameters: Parameters,
        steps: usize,
        seed: u64,
    ) -> Result<(GptModern, usize)> {
        let schedule = LrSchedule::cosine(self.args.table.lr, steps);
        let rollout = rollout_config(GROUP_SIZE, self.chat_tokenizer());
        let kl_controller = KlController::Fixed(0.);
        let config = PpoConfig {
            kl_controller,
            ..PpoConfig::with_defaults(PROMPTS_PER_STEP, rollout, schedule, seed)
        };
        let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
        let reference = create_reference_model(&model, &parameters)?;
        let policy = TrainState::new(parameters, optimizer)?;
        let backbone = CriticBackbone::Separate;
        let mut actor_critic =
            ActorCritic::new(model, policy, backbone, optimizer.into(), kl_controller)?;
        let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
        let scoring = Scoring::from_fn(self.chat_tokenizer(), &mut *reward_fn, Some(1.));
        let mut context = PpoContext { reference: &reference, scoring, ptx_loss: None };
        let validator = PpoValidator {
            prompts: &self.problems,
            reward_shaping: &config.reward_shaping,
            eval_config: self.evaluator.eval_config,
            interval: 0,
            target_reward: None,
            model_saver: None,
        };
        let mut prompts = PromptLoader::new(self.problems.clone(), seed)?;
        let log = RunLogConfig::rewards(steps, schedule.warmup_steps, steps);
        let (run, mut log) = (Run::default(), RunLog::new(log, 0)?);
        ppo::train(
            &mut actor_critic,
            &mut context,
            &mut prompts,
            &config,
            &validator,
            &run,
            &mut log,
        )?;
        let n_tokens = log.state.n_tokens;
        log.finish()?;
        Ok((actor_critic.models()?.rollout_policy, n_tokens))
    }
}
