//! 8.4 What decides where a run arrives.

use scaling::LrSchedule;

use crate::kl::KlController;
use crate::rewards::RewardShapingConfig;
use crate::rollout::RolloutConfig;
use crate::update::PpoUpdateConfig;

/// A run of PPO.
#[derive(Debug, Clone)]
pub struct PpoConfig {
    /// Prompts of each step.
    pub prompts_per_step: usize,
    /// How they are answered.
    pub rollout: RolloutConfig,
    /// How answers are judged.
    pub reward_shaping: RewardShapingConfig,
    /// How much a nat of KL to the reference costs.
    pub kl_controller: KlController,
    /// How is learned from it.
    pub update: PpoUpdateConfig,
    /// The policy's rate of each step, and how many there are.
    pub schedule: LrSchedule,
    /// The critic's rate, in rates of the policy.
    pub critic_lr_multiplier: f64,
    /// Of prompts, responses and the order of mini-batches.
    pub seed: u64,
}
