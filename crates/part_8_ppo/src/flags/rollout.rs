//! Flags of the rollout.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::number::{probability, temperature};
use experiment::program::as_usage_error;
use modern::{Sampler, SamplingStrategy};
use serde::Serialize;
use sft::ChatTokenizer;

use crate::rollout::RolloutConfig;

/// Flags of the rollout: completions per prompt and sampling.
#[derive(Debug, Clone, Copy, Serialize, Args)]
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
    #[arg(
        long, value_name = "T", default_value_t = 1., allow_negative_numbers = true,
        value_parser = temperature
    )]
    pub temperature: f64,
    /// Sample from the K most likely tokens; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Nucleus sampling: sample from the fewest tokens with total probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
}

impl RolloutFlags {
    /// Checks that an update can learn from such rollouts.
    ///
    /// # Errors
    /// A usage error otherwise.
    pub fn check(&self) -> Result<()> {
        as_usage_error(self.with_stop_tokens(vec![0], 1).check())
    }

    /// Rollout settings with the stop tokens of `chat_tokenizer`; `default` is the value of
    /// --max-new-tokens when it is not given.
    pub fn config(&self, chat_tokenizer: &ChatTokenizer, default: usize) -> RolloutConfig {
        self.with_stop_tokens(chat_tokenizer.stop_token_ids().to_vec(), default)
    }

    fn with_stop_tokens(&self, stop_token_ids: Vec<u32>, default: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let strategy = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        let (group_size, sampler) = (self.group_size.get(), Sampler::new(strategy));
        RolloutConfig {
            group_size,
            sampler,
            max_new_tokens: self.max_new_tokens_or(default),
            stop_token_ids,
        }
    }

    /// Value of --max-new-tokens, `default` when it is not given.
    pub fn max_new_tokens_or(&self, default: usize) -> usize {
        self.max_new_tokens.map_or(default, NonZeroUsize::get)
    }
}
