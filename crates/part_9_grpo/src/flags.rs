//! Flags of the task, the rewards and the rollout. Names of other programs for the same setting are
//! accepted on the command line and in a settings file: `num_generations`, `max_completion_length`
//! and so on.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use datasets::{DatasetFlags, Example};
use experiment::number::{positive, probability};
use experiment::program::{as_usage_error, ensure_usage};
use model_io::ChatVariables;
use modern::{Sampler, SamplingStrategy};
use ppo::flags::{OutcomeRewardFlags, PromptFlags, RewardProgramFlags, RolloutLimitFlags};
use ppo::reward_fn::NamedRewardFn;
use ppo::{PromptExample, RolloutConfig};
use serde::Serialize;
use sft::ChatTokenizer;

use crate::rewards::describe_reward_rules;
use crate::{Task, WeightedRewards};

/// Task and reward flags.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct TaskFlags {
    /// Task, which sets the format of --data and the rewards; `eval` of a run uses the run's task
    #[arg(long, value_enum, default_value_t = Task::Arithmetic)]
    pub task: Task,
    /// Problems (question or prompt, and answer): a file (.json or .jsonl, .gz too, or .parquet), a
    /// folder of them, owner/name or owner/name:file.jsonl on the Hub, or a mixture:
    /// a.jsonl=0.7,b.jsonl=0.3
    #[arg(
        long, visible_aliases = ["dataset", "dataset-name"], alias = "train-file",
        value_name = "DATA"
    )]
    pub data: Option<String>,
    /// Configuration and split.
    #[command(flatten)]
    pub dataset: DatasetFlags,
    /// Reward functions with weights.
    #[arg(long, value_name = "REWARDS", help = reward_help(), help_heading = "Algorithm")]
    pub reward: Option<String>,
    /// Reward program.
    #[command(flatten)]
    pub program: RewardProgramFlags,
    /// Values of right and wrong completions.
    #[command(flatten)]
    pub outcome: OutcomeRewardFlags,
    /// Largest number of tokens per completion [default: the task's]
    #[arg(
        long, visible_alias = "max-completion-length", aliases = ["max-gen-length", "resp-len"],
        value_name = "N", help_heading = "Algorithm"
    )]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Length and format of prompts.
    #[command(flatten)]
    pub prompts: PromptFlags,
}

/// Help text of --reward.
fn reward_help() -> String {
    format!(
        "Weighted sum of rewards, as name=weight,name=weight: {}, code (1 if the completion's \
         Python passes the tests of its row; it is run, in a sandbox), judge (score of \
         --judge-model), program (see --reward-program), random (a control), or a reward model (a \
         folder, or owner/name on the Hub) [default: program with --reward-program, else the \
         task's]",
        describe_reward_rules()
    )
}

impl TaskFlags {
    /// Reward function for a policy with `chat_tokenizer`, in a run with these chat `variables`.
    ///
    /// # Errors
    /// Those of [`TaskFlags::weighted_rewards`] and [`WeightedRewards::open_reward_fn`].
    pub fn open_reward_fn(
        &self,
        chat_tokenizer: &ChatTokenizer,
        variables: &ChatVariables,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let rewards = self.weighted_rewards()?;
        rewards.open_reward_fn(&self.program, chat_tokenizer, 32, variables, device)
    }

    /// Rewards as text: those of --reward, else the program, else the task's.
    pub fn reward_spec(&self) -> &str {
        self.reward.as_deref().unwrap_or(self.task.default_rewards(&self.program))
    }

    /// Weighted rewards.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when they cannot be parsed, or have no use
    /// for the values of right and wrong completions.
    pub fn weighted_rewards(&self) -> Result<WeightedRewards> {
        let rewards = as_usage_error(WeightedRewards::parse(self.reward_spec()))?;
        match rewards.has_right_or_wrong() {
            true => Ok(rewards.with_outcome(self.outcome.rewards()?)),
            false => self.outcome.ensure_unused().map(|()| rewards),
        }
    }

    /// Checks the flags.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when the rewards cannot be parsed, or the
    /// task needs data or a reward.
    pub fn check(&self) -> Result<()> {
        let has_program = self.program.reward_program.is_some();
        ensure_usage(
            self.task != Task::Prompts || self.reward.is_some() || has_program,
            "--task prompts needs --reward MODEL or --reward-program COMMAND",
        )?;
        self.weighted_rewards()?;
        if self.data.is_none() {
            as_usage_error(self.dataset.ensure_unused("(not given)"))?;
        }
        as_usage_error(self.task.ensure_has_data(self.file_data()))
    }

    /// `--data`; `None` for the built-in problems, which part 10 names.
    pub fn file_data(&self) -> Option<&str> {
        self.data.as_deref().filter(|&data| data != "arithmetic")
    }

    /// Tokenized prompts of `examples` for a model with `context_len`, and the number of examples
    /// that were dropped because their prompt is too long.
    ///
    /// # Errors
    /// When all are dropped, or a rule compares with a right answer that an example lacks.
    pub fn prompt_examples(
        &self,
        mut examples: Vec<Example>,
        chat_tokenizer: &ChatTokenizer,
        context_len: usize,
    ) -> Result<(Vec<PromptExample>, usize)> {
        self.weighted_rewards()?.ensure_applicable(&examples)?;
        self.prompts.format(&mut examples)?;
        self.prompts.tokenize(examples, chat_tokenizer, context_len, self.max_new_tokens())
    }

    /// Largest number of tokens per completion.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens.map_or(self.task.default_max_new_tokens(), NonZeroUsize::get)
    }
}

/// Flags of the rollout: group size and sampling.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct GrpoRolloutFlags {
    /// Group size G: completions sampled per prompt
    #[arg(
        long, visible_alias = "num-generations",
        aliases = ["num-completions", "samples", "num-samples"], value_name = "G",
        default_value = "16"
    )]
    pub group_size: NonZeroUsize,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = positive)]
    pub temperature: f64,
    /// Sample from the K most likely tokens [default: from all]
    #[arg(long, value_name = "K")]
    pub top_k: Option<NonZeroUsize>,
    /// Nucleus sampling: sample from the fewest tokens with total probability P [default: from all]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f64>,
    /// Shortest completions, and batches.
    #[command(flatten)]
    pub limits: RolloutLimitFlags,
}

/// Largest number of tokens in one rollout; larger ones are refused before they exhaust the memory.
const MAX_ROLLOUT_TOKENS: usize = 1 << 24;

/// Checks that a rollout of `prompts` prompts, `group_size` completions each, is of reasonable
/// size.
///
/// # Errors
/// A [`UsageError`](experiment::program::UsageError) when it may have more than 2²⁴ tokens.
pub fn check_rollout_size(prompts: usize, group_size: usize, max_new_tokens: usize) -> Result<()> {
    let tokens = prompts.saturating_mul(group_size).saturating_mul(max_new_tokens);
    ensure_usage(
        tokens <= MAX_ROLLOUT_TOKENS,
        format!(
            "{prompts} prompts with {group_size} completions of up to {max_new_tokens} tokens \
             exceed the limit of {MAX_ROLLOUT_TOKENS} tokens per rollout"
        ),
    )
}

impl GrpoRolloutFlags {
    /// Rollout configuration: completions of at most `max_new_tokens` tokens that end with one of
    /// `stop_token_ids`.
    pub fn config(&self, max_new_tokens: usize, stop_token_ids: Vec<u32>) -> RolloutConfig {
        let top_k = self.top_k.map(NonZeroUsize::get);
        let strategy = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        let group_size = self.group_size.get();
        let sampler = Sampler::new(strategy);
        let config = RolloutConfig::new(group_size, sampler, max_new_tokens, stop_token_ids);
        self.limits.limit(config)
    }
}
