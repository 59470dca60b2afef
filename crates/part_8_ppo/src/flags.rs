//! Flags of rollouts: completions, sampling, prompts. Those of rewards are in their own files.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use datasets::Example;
use experiment::number::{probability, temperature};
use experiment::program::as_usage_error;
use modern::{Sampler, SamplingStrategy};
use serde::Serialize;
use sft::{ChatFormat, ChatTokenizer};

use crate::PromptExample;
use crate::prompts::{PromptFormat, limit_length, tokenize_prompts};
pub use crate::reward_flags::{
    CodeRewardFlags, JudgeFlags, OutcomeRewardFlags, RewardProgramFlags,
};
pub use crate::reward_fn_flags::RewardFnFlags;
use crate::rollout::RolloutConfig;

/// Flags of the rollout: completions per prompt and sampling.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RolloutFlags {
    /// Completions sampled per prompt
    #[arg(
        long, visible_alias = "num-generations", aliases = ["samples", "num-samples"],
        value_name = "N", default_value = "8"
    )]
    pub group_size: NonZeroUsize,
    /// Largest number of tokens per completion [default: 8 for arithmetic, else 64]
    #[arg(long, visible_aliases = ["max-completion-length", "response-length"], value_name = "N")]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = temperature)]
    pub temperature: f64,
    /// Sample from the K most likely tokens; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Nucleus sampling: sample from the fewest tokens with total probability P
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f64>,
    /// Shortest completions, and batches.
    #[command(flatten)]
    pub limits: RolloutLimitFlags,
}

/// Flags of the length of completions, and of the number that are sampled together.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RolloutLimitFlags {
    /// Smallest number of tokens before a completion may end [default: 0]
    #[arg(long, value_name = "N")]
    pub min_new_tokens: Option<usize>,
    /// Prompts whose completions are sampled together: less memory, the same completions [default:
    /// all of a step]
    #[arg(long, visible_alias = "local-rollout-forward-batch-size", value_name = "N")]
    pub rollout_batch_size: Option<NonZeroUsize>,
}

impl RolloutLimitFlags {
    /// `config` with these limits.
    pub fn limit(&self, config: RolloutConfig) -> RolloutConfig {
        RolloutConfig {
            min_new_tokens: self.min_new_tokens.unwrap_or(0),
            batch_size: self.rollout_batch_size.map_or(usize::MAX, NonZeroUsize::get),
            ..config
        }
    }
}

/// Flags of the training prompts.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct PromptFlags {
    /// Maximum prompt length in tokens; longer prompts are dropped [default: what leaves room for a
    /// completion]
    #[arg(long, value_name = "N")]
    pub max_prompt_length: Option<NonZeroUsize>,
    /// Text of a prompt, in which {question} is the question of a row: no system prompt, and
    /// --template joined unless another is given
    #[arg(long, value_name = "TEXT")]
    pub prompt_format: Option<PromptFormat>,
}

impl PromptFlags {
    /// Chat format of the run: `given`, else that of the prompt format.
    pub fn chat_format(&self, given: Option<ChatFormat>) -> Option<ChatFormat> {
        given.or(self.prompt_format.is_some().then_some(ChatFormat::Joined))
    }

    /// `examples` with prompts in the prompt format.
    ///
    /// # Errors
    /// When a prompt is not a single question.
    pub fn format(&self, examples: &mut [Example]) -> Result<()> {
        let Some(format) = &self.prompt_format else { return Ok(()) };
        examples.iter_mut().try_for_each(|example| format.apply(example))
    }

    /// Tokenized prompts of `examples` for a model with `context_len`, and the number of examples
    /// that were dropped because their prompt is too long.
    ///
    /// # Errors
    /// When all are dropped.
    pub fn tokenize(
        &self,
        examples: Vec<Example>,
        chat_tokenizer: &ChatTokenizer,
        context_len: usize,
        max_new_tokens: usize,
    ) -> Result<(Vec<PromptExample>, usize)> {
        let tokenized = tokenize_prompts(examples, chat_tokenizer, context_len, max_new_tokens)?;
        limit_length(tokenized, self.max_prompt_length)
    }
}

impl RolloutFlags {
    /// Checks that an update can learn from such rollouts; `default_max_new_tokens` is the value of
    /// --max-new-tokens when it is not given.
    ///
    /// # Errors
    /// A usage error otherwise.
    pub fn check(&self, default_max_new_tokens: usize) -> Result<()> {
        as_usage_error(self.config(vec![0], default_max_new_tokens).check())
    }

    /// Rollout settings with these stop tokens; `default` is the value of --max-new-tokens when it
    /// is not given.
    pub fn config(&self, stop_token_ids: Vec<u32>, default: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let strategy = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        let max_new_tokens = self.max_new_tokens.map_or(default, NonZeroUsize::get);
        let group_size = self.group_size.get();
        let sampler = Sampler::new(strategy);
        let config = RolloutConfig::new(group_size, sampler, max_new_tokens, stop_token_ids);
        self.limits.limit(config)
    }
}
