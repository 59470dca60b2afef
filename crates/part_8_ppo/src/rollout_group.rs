//! 8.3 A prompt with the completions that were sampled for it, and what is recorded of each.

use modern::FinishReason;
use serde::{Deserialize, Serialize};

/// Prompt with its completions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutGroup {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Completions sampled for it.
    pub completions: Vec<SampledCompletion>,
}

impl RolloutGroup {
    /// Number of completion tokens.
    pub fn n_tokens(&self) -> usize {
        self.completions.iter().map(|completion| completion.tokens.len()).sum()
    }
}

/// Completion as it was sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampledCompletion {
    /// Token ids, with the stop token if it terminated; at least one.
    pub tokens: Vec<u32>,
    /// Log-probability with which each token was sampled.
    pub log_probs: Vec<f32>,
    /// Tokens that could be sampled at each position; empty if all could be at all of them.
    pub allowed_tokens: Vec<AllowedTokens>,
    /// Reason why it ended.
    pub finish_reason: FinishReason,
}

/// Tokens that could be sampled at a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllowedTokens {
    /// These, which passed the sampling filters.
    Only(Vec<u32>),
    /// All but these.
    AllBut(Vec<u32>),
}

impl SampledCompletion {
    /// Whether it ended with a stop token, so was not truncated.
    pub fn terminated(&self) -> bool {
        self.finish_reason == FinishReason::Stop
    }

    /// Tokens that a model reads: nothing follows a stop token, so it is not read.
    pub(crate) fn input_ids(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - usize::from(self.terminated())]
    }
}

/// T, the number of tokens of the longest completion of `groups`.
pub fn longest_completion(groups: &[RolloutGroup]) -> usize {
    let completions = groups.iter().flat_map(|group| &group.completions);
    completions.map(|completion| completion.tokens.len()).max().unwrap_or(0)
}
