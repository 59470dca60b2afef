//! What decides where a run arrives.

use ppo::{Clip, RolloutConfig};
use scaling::LrSchedule;
use tensor_core::AdamWConfig;

use crate::experience::AdvantageConfig;
use crate::reference::ReferenceUpdate;
use crate::{Kl, Objective};

/// A run of GRPO.
#[derive(Debug, Clone)]
pub struct GrpoConfig {
    /// Prompts of a step.
    pub prompts_per_step: usize,
    /// How they are answered, and how often each.
    pub rollout: RolloutConfig,
    /// What the answers are worth.
    pub advantage: AdvantageConfig,
    /// What a step descends.
    pub objective: Objective,
    /// What the policy is kept near, if it is.
    pub reference_update: Option<ReferenceUpdate>,
    /// How steps are made of it.
    pub update: GrpoUpdateConfig,
    /// Of the order of prompts, and of what is drawn.
    pub seed: u64,
}

/// How steps are made.
#[derive(Debug, Clone, Copy)]
pub struct GrpoUpdateConfig {
    /// μ: steps of the optimizer on what was drawn once.
    pub num_iterations: usize,
    /// Prompts whose gradient is computed at a time.
    pub micro_batch_size: usize,
    /// The rate of each step, and how many there are.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// The run ends early once this many tokens have been drawn.
    pub max_sampled_tokens: Option<usize>,
}

impl GrpoConfig {
    /// The usual one: GRPO's advantages, every token the same, β = 0.003 to the policy as it began, one step on what was drawn.
    pub fn with_defaults(
        prompts: usize,
        rollout: RolloutConfig,
        schedule: LrSchedule,
        seed: u64,
    ) -> Self {
        Self {
            prompts_per_step: prompts,
            rollout,
            advantage: AdvantageConfig::with_defaults(),
            objective: Objective {
                clip_range: Clip::symmetric(0.2),
                kl: Some((Kl::K3Weighted, 0.003)),
                importance_sampling_cap: None,
            },
            reference_update: Some(ReferenceUpdate::Fixed),
            update: GrpoUpdateConfig {
                num_iterations: 1,
                micro_batch_size: prompts,
                schedule,
                optimizer: AdamWConfig { beta2: 0.95, weight_decay: 0., ..AdamWConfig::default() },
                max_grad_norm: 1.,
                max_sampled_tokens: None,
            },
            seed,
        }
    }
}
