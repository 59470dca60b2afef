//! 10.3 Hyperparameters of rounds, and everything that they read and do not train: prompts,
//! rewards, reference, teacher.

use grpo::ReferenceModel;
use modern::GptModern;
use ppo::reward_fn::{NamedRewardFn, RewardParts};
use ppo::{ContextOverflow, PromptLoader, RewardFn, RolloutConfig, Scoring};
use sft::ChatTokenizer;

use crate::distillation::Divergence;
use crate::sampled::SampledSignal;

/// Hyperparameters of a round.
#[derive(Debug, Clone)]
pub struct OnlineConfig {
    /// Signal that is taken from the completions.
    pub signal: SampledSignal,
    /// Prompts per round.
    pub prompts_per_round: usize,
    /// Optimizer steps per round.
    pub steps_per_round: usize,
    /// Sampling.
    pub rollout: RolloutConfig,
}

/// Everything that rounds read and do not train.
pub struct OnlineContext<'a> {
    /// Tokenizer and chat template of the policy.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Reward function.
    pub reward_fn: &'a mut RewardFn,
    /// Rewards of the terms of the reward function.
    pub reward_parts: RewardParts,
    /// Counter of the conversations that are too long for a reward model.
    pub overflow: ContextOverflow,
    /// Highest reward that it gives, if that is known.
    pub max_reward: Option<f64>,
    /// Reference model, synchronized by round; `None` for a loss without a reference.
    pub reference: Option<ReferenceModel>,
    /// Teacher of distillation.
    pub teacher: Option<Teacher>,
    /// Training prompts.
    pub prompts: PromptLoader,
}

impl<'a> OnlineContext<'a> {
    /// Context of the reward function `reward`, without reference and teacher.
    pub fn new(
        chat_tokenizer: &'a ChatTokenizer,
        reward: &'a mut NamedRewardFn,
        prompts: PromptLoader,
    ) -> Self {
        Self {
            chat_tokenizer,
            reward_fn: &mut *reward.reward_fn,
            reward_parts: reward.parts.clone(),
            overflow: reward.overflow.clone(),
            max_reward: reward.max_reward,
            reference: None,
            teacher: None,
            prompts,
        }
    }

    /// The reward function, for a round's completions.
    pub(crate) fn scoring(&mut self) -> Scoring<'_> {
        Scoring {
            chat_tokenizer: self.chat_tokenizer,
            reward_fn: &mut *self.reward_fn,
            parts: &self.reward_parts,
            overflow: &self.overflow,
        }
    }
}

/// Teacher of distillation.
pub struct Teacher {
    /// Model, built for inference.
    pub model: GptModern,
    /// Divergence of the policy from it.
    pub divergence: Divergence,
    /// λ: share of rounds on the policy's own completions.
    pub lambda: f64,
}
