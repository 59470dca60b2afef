//! Configuration of a GRPO run: everything that determines its result.

use ppo::{Clip, RolloutConfig};
use scaling::LrSchedule;
use tensor_core::{AdamWConfig, OptimizerConfig};

use crate::advantage::Baseline;
use crate::aggregation::Aggregation;
use crate::kl::KlLoss;
use crate::method::Method;
use crate::objective::{LossLevel, Objective};
use crate::overlong::OverlongHandling;
use crate::reference::ReferenceUpdate;

/// Configuration of a GRPO run.
#[derive(Debug, Clone)]
pub struct GrpoConfig {
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Group size, sampling and completion length.
    pub rollout: RolloutConfig,
    /// Advantages and token weights.
    pub advantage: AdvantageConfig,
    /// Loss of a step.
    pub objective: Objective,
    /// Reference model: fixed or synchronized; `None` without one.
    pub reference_update: Option<ReferenceUpdate>,
    /// Optimizer steps.
    pub update: GrpoUpdateConfig,
    /// Seed of the prompt order and of sampling.
    pub seed: u64,
}

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
    pub optimizer: OptimizerConfig,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Number of sampled tokens after which the run ends early.
    pub max_sampled_tokens: Option<usize>,
}

impl AdvantageConfig {
    /// Default settings: the advantages and the aggregation of the default method; truncated
    /// completions are rewarded like all others.
    pub fn with_defaults() -> Self {
        Self {
            overlong: OverlongHandling::None,
            baseline: Method::default().baseline(),
            advantage_epsilon: 1e-4,
            loss_aggregation: Method::default().loss_aggregation(),
        }
    }
}

impl GrpoConfig {
    /// Default configuration: that of the default [`Method`], with one optimizer step per batch of
    /// rollouts.
    pub fn with_defaults(
        prompts_per_step: usize,
        rollout: RolloutConfig,
        schedule: LrSchedule,
        seed: u64,
    ) -> Self {
        let config = Self {
            prompts_per_step,
            rollout,
            advantage: AdvantageConfig::with_defaults(),
            objective: Objective {
                level: LossLevel::Token,
                clip_range: None,
                kl: None,
                importance_sampling_cap: None,
            },
            reference_update: None,
            update: GrpoUpdateConfig {
                num_iterations: 1,
                micro_batch_size: prompts_per_step,
                schedule,
                optimizer: AdamWConfig { beta2: 0.95, weight_decay: 0., ..AdamWConfig::default() }
                    .into(),
                max_grad_norm: 1.,
                max_sampled_tokens: None,
            },
            seed,
        };
        config.with_method(Method::default())
    }

    /// This configuration with the baseline, the loss aggregation, the clip range and the KL
    /// coefficient of `method`; the reference model of its KL term is the initial policy.
    pub fn with_method(mut self, method: Method) -> Self {
        self.advantage.baseline = method.baseline();
        self.advantage.loss_aggregation = method.loss_aggregation();
        self.objective.clip_range = method.clip_range().map(Clip::symmetric);
        let kl = (KlLoss::default(), method.kl_coef());
        self.objective.kl = Some(kl).filter(|(_, kl_coef)| *kl_coef > 0.);
        self.reference_update = self.objective.kl.map(|_| ReferenceUpdate::Fixed);
        self
    }
}
