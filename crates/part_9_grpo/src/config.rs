//! Configuration of a GRPO run: everything that determines its result.

use ppo::{Clip, RolloutConfig};
use scaling::LrSchedule;
use tensor_core::AdamWConfig;

use crate::experience::AdvantageConfig;
use crate::reference::ReferenceUpdate;
use crate::{KlLoss, Objective};

/// Configuration of a GRPO run.
#[derive(Debug, Clone)]
pub struct GrpoConfig {
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Group size, sampling and completion length.
    pub rollout: RolloutConfig,
    /// Advantages and token weights.
    pub advantage: AdvantageConfig,
    /// Loss per token.
    pub objective: Objective,
    /// Reference model: fixed or synchronized; `None` without one.
    pub reference_update: Option<ReferenceUpdate>,
    /// Optimizer steps.
    pub update: GrpoUpdateConfig,
    /// Seed of the prompt order and of sampling.
    pub seed: u64,
}

/// Settings of the optimizer steps.
#[derive(Debug, Clone, Copy)]
pub struct GrpoUpdateConfig {
    /// μ: optimizer steps on each batch of rollouts.
    pub num_iterations: usize,
    /// Prompts per micro-batch.
    pub micro_batch_size: usize,
    /// Learning rate schedule and number of steps.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Number of sampled tokens after which the run ends early.
    pub max_sampled_tokens: Option<usize>,
}

impl GrpoConfig {
    /// Default configuration: GRPO's advantages, token aggregation, KL coefficient 0.003 (that of
    /// configs/grpo_learning.yaml; the flag's default is 0.03) to the initial policy, one optimizer
    /// step per batch of rollouts.
    pub fn with_defaults(
        prompts_per_step: usize,
        rollout: RolloutConfig,
        schedule: LrSchedule,
        seed: u64,
    ) -> Self {
        Self {
            prompts_per_step,
            rollout,
            advantage: AdvantageConfig::with_defaults(),
            objective: Objective {
                clip_range: Clip::symmetric(0.2),
                kl: Some((KlLoss::K3Weighted, 0.003)),
                importance_sampling_cap: None,
            },
            reference_update: Some(ReferenceUpdate::Fixed),
            update: GrpoUpdateConfig {
                num_iterations: 1,
                micro_batch_size: prompts_per_step,
                schedule,
                optimizer: AdamWConfig { beta2: 0.95, weight_decay: 0., ..AdamWConfig::default() },
                max_grad_norm: 1.,
                max_sampled_tokens: None,
            },
            seed,
        }
    }
}
