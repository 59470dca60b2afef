//! 10.3 Hyperparameters of rounds, and everything that they read and do not train: prompts,
//! rewards, reference, teacher.

use grpo::ReferenceModel;
use modern::GptModern;
use ppo::{PromptLoader, RolloutConfig, Scoring};

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
    /// Reward function, with the tokenizer of the policy.
    pub scoring: Scoring<'a>,
    /// Reference model, synchronized by round; `None` for a loss without a reference.
    pub reference: Option<ReferenceModel>,
    /// Teacher of distillation.
    pub teacher: Option<Teacher>,
    /// Training prompts.
    pub prompts: PromptLoader,
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
