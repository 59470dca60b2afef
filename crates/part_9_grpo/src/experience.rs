//! Experience of a step: prompts, a group of completions per prompt, their rewards and advantages.

use anyhow::Result;
use modern::GptModern;
use ppo::experience::{ScoredRollouts, compute_rewards, decode_completions};
use ppo::{PromptExample, RewardFn, RolloutConfig, RolloutGroup, SampledCompletion, rollout};
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::{Aggregation, Baseline, OverlongHandling, advantages};

/// Settings of advantages and token weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvantageConfig {
    /// Handling of truncated completions.
    pub overlong: OverlongHandling,
    /// Baseline of the advantages.
    pub baseline: Baseline,
    /// ε that is added to the standard deviation.
    pub advantage_epsilon: f64,
    /// Loss aggregation.
    pub loss_aggregation: Aggregation,
}

impl AdvantageConfig {
    /// Default settings: GRPO's advantages, token aggregation, truncated completions rewarded like
    /// all others.
    pub fn with_defaults() -> Self {
        Self {
            overlong: OverlongHandling::None,
            baseline: Baseline::GroupStd,
            advantage_epsilon: 1e-4,
            loss_aggregation: Aggregation::Token,
        }
    }
}

/// Experience of one GRPO step. All vectors but `groups` have one entry per completion, group by
/// group.
#[derive(Debug, Clone)]
pub struct GrpoExperience {
    /// Prompts with their completions.
    pub groups: Vec<RolloutGroup>,
    /// Sampling temperature, at which the loss computes log-probabilities too.
    pub temperature: f64,
    /// Decoded completions.
    pub completion_texts: Vec<String>,
    /// Reward of each completion, overlong penalty included.
    pub rewards: Vec<f32>,
    /// Advantage of each completion.
    pub advantages: Vec<f32>,
    /// Loss weight of each of a completion's tokens; 0 if it is excluded.
    pub weights: Vec<f32>,
}

/// Rollouts of `model`, built for inference, on `prompts`, with their rewards.
///
/// # Errors
/// When a prompt leaves no room for a completion in the context, and those of `reward_fn`.
pub fn collect_rollouts(
    model: &GptModern,
    (chat_tokenizer, reward_fn): (&ChatTokenizer, &mut RewardFn),
    prompts: &[PromptExample],
    config: &RolloutConfig,
    rng: &mut Rng,
) -> Result<ScoredRollouts> {
    let ids: Vec<Vec<u32>> = prompts.iter().map(|one| one.prompt.clone()).collect();
    let groups = rollout(model, &ids, config, rng)?;
    let completion_texts = decode_completions(&groups, chat_tokenizer)?;
    let rewards = compute_rewards(&groups, prompts, &completion_texts, reward_fn, rng)?;
    Ok(ScoredRollouts { groups, completion_texts, rewards })
}

impl GrpoExperience {
    /// Experience from `rollouts` that were sampled with `config`.
    ///
    /// # Errors
    /// When a reward is not finite, or a group has fewer than two completions.
    pub fn from_rollouts(
        rollouts: ScoredRollouts,
        config: &RolloutConfig,
        advantage_config: &AdvantageConfig,
    ) -> Result<Self> {
        let ScoredRollouts { groups, completion_texts, rewards } = rollouts;
        let AdvantageConfig { overlong, baseline, advantage_epsilon, loss_aggregation } =
            *advantage_config;
        let max_new_tokens = config.max_new_tokens;
        let completions: Vec<&SampledCompletion> =
            groups.iter().flat_map(|group| &group.completions).collect();
        let lengths: Vec<usize> = completions.iter().map(|one| one.tokens.len()).collect();
        let penalized = |(reward, &length): (f64, &usize)| {
            reward as f32 - overlong.penalty(length, max_new_tokens)
        };
        let rewards: Vec<f32> = rewards.into_iter().zip(&lengths).map(penalized).collect();
        let masked = overlong == OverlongHandling::Masked;
        let included: Vec<bool> =
            completions.iter().map(|one| one.terminated() || !masked).collect();
        let weights = loss_aggregation.weights(&lengths, &included, max_new_tokens);
        let advantages = advantages(&rewards, config.group_size, baseline, advantage_epsilon)?;
        let temperature = config.temperature();
        Ok(Self { groups, temperature, completion_texts, rewards, advantages, weights })
    }

    /// True if an included completion of group `group` has an advantage other than 0.
    pub fn has_nonzero_advantage(&self, group: usize) -> bool {
        self.advantages_and_weights(group).any(|(advantage, weight)| advantage * weight != 0.)
    }

    /// True if group `group` has an included completion.
    pub fn is_included(&self, group: usize) -> bool {
        self.advantages_and_weights(group).any(|(_, weight)| weight != 0.)
    }

    /// Advantage and weight of each completion of group `group`.
    fn advantages_and_weights(&self, group: usize) -> impl Iterator<Item = (f32, f32)> {
        let group_size = self.rewards.len() / self.groups.len().max(1);
        let all = self.advantages.iter().copied().zip(self.weights.iter().copied());
        all.skip(group * group_size).take(group_size)
    }

    /// Number of sampled tokens.
    pub fn n_tokens(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.completions).map(|one| one.tokens.len()).sum()
    }
}
