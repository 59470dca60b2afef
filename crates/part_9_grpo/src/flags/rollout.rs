//! Flags of the rollout.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::number::{positive, probability};
use experiment::program::ensure_usage;
use modern::{Sampler, SamplingStrategy};
use ppo::RolloutConfig;
use serde::Serialize;

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
        RolloutConfig {
            group_size: self.group_size.get(),
            sampler: Sampler::new(strategy),
            max_new_tokens,
            stop_token_ids,
        }
    }
}
