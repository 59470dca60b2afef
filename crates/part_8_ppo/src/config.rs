//! 8.4 Hyperparameters of a PPO run.

use scaling::LrSchedule;

use crate::kl::KlController;
use crate::rewards::RewardShapingConfig;
use crate::rollout::RolloutConfig;
use crate::update::PpoUpdateConfig;

/// Hyperparameters that determine the result of a run.
#[derive(Debug, Clone)]
pub struct PpoConfig {
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Sampling of completions.
    pub rollout: RolloutConfig,
    /// Reward shaping and GAE.
    pub reward_shaping: RewardShapingConfig,
    /// KL coefficient and its adaptation.
    pub kl_controller: KlController,
    /// Epochs, minibatches and the objective.
    pub update: PpoUpdateConfig,
    /// Learning-rate schedule of the policy, which also sets the number of steps.
    pub schedule: LrSchedule,
    /// Learning rate of the critic as a multiple of the policy's.
    pub critic_lr_multiplier: f64,
    /// Seed of the prompts' order, of sampling and of the minibatches' order.
    pub seed: u64,
}
