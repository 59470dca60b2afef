//! 8.5 Hyperparameters of a PPO run, and what it uses beside the policy and the critic.

use modern::GptModern;
use scaling::LrSchedule;

use crate::gae::GaeConfig;
use crate::kl::{KlController, KlEstimator};
use crate::losses::{Clip, LossWeights};
use crate::ptx_loss::PtxLoss;
use crate::rewards::{RewardScaling, RewardShapingConfig, TruncationHandling};
use crate::rollout::RolloutConfig;
use crate::scoring::Scoring;

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

impl PpoConfig {
    /// The usual hyperparameters.
    pub fn with_defaults(
        prompts_per_step: usize,
        rollout: RolloutConfig,
        schedule: LrSchedule,
        seed: u64,
    ) -> Self {
        Self {
            prompts_per_step,
            rollout,
            reward_shaping: RewardShapingConfig {
                gae: GaeConfig { gamma: 1., lambda: 0.95 },
                kl_estimator: KlEstimator::K1,
                reward_clip: None,
                truncation: TruncationHandling::default(),
                missing_eos_penalty: 1.,
                reward_scaling: RewardScaling::None,
            },
            kl_controller: KlController::Fixed(0.02),
            update: PpoUpdateConfig {
                ppo_epochs: 2,
                n_minibatches: 2,
                grad_accum_steps: 1,
                clip_range: Clip::symmetric(0.2),
                value_clip_range: Some(0.2),
                loss_weights: LossWeights { value_coef: 0.5, entropy_coef: 0. },
                early_stop_kl: None,
                max_grad_norm: 1.,
            },
            schedule,
            critic_lr_multiplier: 5.,
            seed,
        }
    }
}

/// Settings of the update.
#[derive(Debug, Clone, Copy)]
pub struct PpoUpdateConfig {
    /// Epochs over an experience.
    pub ppo_epochs: usize,
    /// Minibatches per epoch, one optimizer step each.
    pub n_minibatches: usize,
    /// Micro-batches per minibatch, whose gradients are accumulated.
    pub grad_accum_steps: usize,
    /// Clip range of the ratio.
    pub clip_range: Clip,
    /// Clip range of the values.
    pub value_clip_range: Option<f64>,
    /// Coefficients of the value loss and the entropy bonus.
    pub loss_weights: LossWeights,
    /// KL to the rollout policy, in nats per token, beyond which the update stops.
    pub early_stop_kl: Option<f64>,
    /// Largest gradient norm, applied to the policy and the critic separately.
    pub max_grad_norm: f64,
}

impl PpoUpdateConfig {
    /// Micro-batches of a step.
    pub fn n_micro_batches(&self) -> usize {
        self.ppo_epochs * self.n_minibatches * self.grad_accum_steps
    }

    /// Groups per micro-batch, of `groups` groups in all.
    pub fn micro_batch_size(&self, groups: usize) -> usize {
        groups.div_ceil(self.n_minibatches.max(1)).div_ceil(self.grad_accum_steps.max(1)).max(1)
    }
}

/// Models and functions that training uses beside the policy and the critic.
pub struct PpoContext<'a> {
    /// Reference model of the KL penalty.
    pub reference: &'a GptModern,
    /// Reward function, with the tokenizer of the policy.
    pub scoring: Scoring<'a>,
    /// PTX loss, if it is mixed in.
    pub ptx_loss: Option<PtxLoss>,
}
