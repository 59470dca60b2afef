//! 8.5 Scoring of the completions of a run: the reward function, what it reads them with, and what
//! it leaves for the log.

use sft::ChatTokenizer;

use crate::reward_fn::{NamedRewardFn, RewardFn, RewardParts};
use crate::scoring_counter::ScoringCounter;

/// Reward function of a run, with what it leaves for the log.
pub struct Scoring<'a> {
    /// Tokenizer and chat template of the policy.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Reward function of completions.
    pub reward_fn: &'a mut RewardFn,
    /// Rewards of its terms at the last call, with notes.
    pub parts: RewardParts,
    /// Counter of the conversations that its reward models and judges have read.
    pub counter: ScoringCounter,
    /// Highest reward that it gives, if that is known.
    pub max_reward: Option<f64>,
}

impl<'a> Scoring<'a> {
    /// Scoring by `reward` of completions of a policy with `chat_tokenizer`.
    pub fn new(chat_tokenizer: &'a ChatTokenizer, reward: &'a mut NamedRewardFn) -> Self {
        Self {
            chat_tokenizer,
            reward_fn: &mut *reward.reward_fn,
            parts: reward.parts.clone(),
            counter: reward.counter.clone(),
            max_reward: reward.max_reward,
        }
    }

    /// Scoring by a function without reward models, whose highest reward is `max_reward` if that is
    /// known.
    pub fn from_fn(
        chat_tokenizer: &'a ChatTokenizer,
        reward_fn: &'a mut RewardFn,
        max_reward: Option<f64>,
    ) -> Self {
        let (parts, counter) = (RewardParts::default(), ScoringCounter::default());
        Self { chat_tokenizer, reward_fn, parts, counter, max_reward }
    }
}
