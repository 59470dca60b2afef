//! How responses are written.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use modern::{Sampler, SamplingStrategy};
use serde::Serialize;
use sft::ChatTokenizer;
use tiny_gpt::command::as_usage_error;
use tiny_gpt::flags::{probability, temperature};

use crate::rollout::RolloutConfig;

/// How responses are written.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct RolloutFlags {
    /// Responses to each prompt
    #[arg(long, visible_alias = "num-generations", aliases = ["samples", "num-samples"], value_name = "N", default_value = "8")]
    pub group_size: NonZeroUsize,
    /// Longest response, in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, visible_aliases = ["max-completion-length", "response-length"], value_name = "N")]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Below 1 likelier tokens, above 1 wilder ones
    #[arg(long, value_name = "T", default_value_t = 1., allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// Draw from the K best tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Draw from the fewest tokens that hold the share P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
}

impl RolloutFlags {
    /// # Errors
    /// A usage error when nothing could be learned from such responses.
    pub fn check(&self) -> Result<()> {
        as_usage_error(self.with_stop_tokens(vec![0], 1).check())
    }

    /// How responses are written by a model that speaks as `speech` does; `usual` is the longest if nothing is said.
    pub fn config(&self, speech: &ChatTokenizer, usual: usize) -> RolloutConfig {
        self.with_stop_tokens(speech.stop_token_ids().to_vec(), usual)
    }

    fn with_stop_tokens(&self, stop: Vec<u32>, usual: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let choice = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        let (samples, sampler) = (self.group_size.get(), Sampler::new(choice));
        RolloutConfig {
            group_size: samples,
            sampler,
            max_new_tokens: self.max_new_tokens_or(usual),
            stop_token_ids: stop,
        }
    }

    /// The longest response, `usual` if nothing is said.
    pub fn max_new_tokens_or(&self, usual: usize) -> usize {
        self.max_new_tokens.map_or(usual, NonZeroUsize::get)
    }
}
