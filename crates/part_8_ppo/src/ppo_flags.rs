//! Flags of PPO: reward shaping, advantages, and the objective.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::number::{non_negative, positive, probability, unit_interval};
use experiment::program::ensure_usage;
use scaling::flags::OptimizationFlags;
use serde::Serialize;
use sft::model_flags::LoraFlags;

use crate::PpoUpdateConfig;
use crate::critic::CriticBackbone;
use crate::gae::GaeConfig;
use crate::kl::{KlController, KlEstimator};
use crate::losses::{Clip, LossWeights};
use crate::rewards::{RewardScaling, RewardShapingConfig, TruncationHandling};

/// Flags of reward shaping: KL penalty, truncation, scaling, and GAE.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RewardShapingFlags {
    /// KL coefficient β: penalty per nat of KL to the reference model
    #[arg(
        long, visible_alias = "beta", alias = "kl-coeff", value_name = "X", default_value_t = 0.02,
        value_parser = non_negative
    )]
    pub kl_coef: f64,
    /// KL estimator of the penalty
    #[arg(long, value_enum, default_value_t)]
    pub kl_estimator: KlEstimator,
    /// Adapt --kl-coef, from its given value, so that the KL stays near X nats per completion
    #[arg(long, alias = "kl-target", value_name = "X", value_parser = positive)]
    pub adaptive_kl_target: Option<f64>,
    /// Completions over which --kl-coef adapts [default: 10000]
    #[arg(
        long, alias = "kl-horizon", value_name = "N", value_parser = positive,
        requires = "adaptive_kl_target"
    )]
    pub adaptive_kl_horizon: Option<f64>,
    /// Clip rewards to [-X, X]
    #[arg(long, alias = "score-clip", value_name = "X", value_parser = positive)]
    pub reward_clip: Option<f64>,
    /// Treatment of truncated completions
    #[arg(long, alias = "cut", value_enum, default_value_t)]
    pub truncation: TruncationHandling,
    /// Penalty subtracted from the reward of a truncated completion [default: 1; none with
    /// --truncation bootstrap]
    #[arg(long, alias = "cut-penalty", value_name = "X", value_parser = non_negative)]
    pub missing_eos_penalty: Option<f64>,
    /// Scaling of per-token rewards before advantages are computed
    #[arg(long, alias = "rewards", value_enum, default_value_t)]
    pub reward_scaling: RewardScaling,
    /// Discount factor γ
    #[arg(long, value_name = "X", default_value_t = 1., value_parser = probability)]
    pub gamma: f64,
    /// GAE λ: 0 = one-step TD, 1 = Monte Carlo
    #[arg(
        long, visible_alias = "lam", alias = "lambda", value_name = "X", default_value_t = 0.95,
        value_parser = unit_interval
    )]
    pub gae_lambda: f64,
}

impl RewardShapingFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// A usage error when --kl-coef 0 is to be adapted, or bootstrapped completions are to be
    /// penalized.
    pub fn check(&self) -> Result<()> {
        let penalized = self.missing_eos_penalty.is_some_and(|penalty| penalty > 0.);
        ensure_usage(
            self.truncation == TruncationHandling::Terminal || !penalized,
            "--missing-eos-penalty needs --truncation terminal: with the bootstrap value every cut \
             subtracts the penalty again, and the values fall without bound",
        )?;
        ensure_usage(
            self.adaptive_kl_target.is_none() || self.kl_coef > 0.,
            "--adaptive-kl-target multiplies --kl-coef: set one above 0",
        )
    }

    /// Settings from rewards to advantages.
    pub fn config(&self) -> RewardShapingConfig {
        RewardShapingConfig {
            gae: GaeConfig { gamma: self.gamma, lambda: self.gae_lambda },
            kl_estimator: self.kl_estimator,
            reward_clip: self.reward_clip,
            truncation: self.truncation,
            missing_eos_penalty: self.missing_eos_penalty.unwrap_or(1.),
            reward_scaling: self.reward_scaling,
        }
    }

    /// KL coefficient and its adaptation.
    pub fn kl_controller(&self) -> KlController {
        let (init_kl_coef, horizon) = (self.kl_coef, self.adaptive_kl_horizon.unwrap_or(10_000.));
        let adaptive = |target| KlController::Adaptive { init_kl_coef, target, horizon };
        self.adaptive_kl_target.map_or(KlController::Fixed(init_kl_coef), adaptive)
    }
}

/// Flags of the PPO objective: clipping, value loss, entropy bonus, PTX loss.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct PpoObjectiveFlags {
    /// Optimization epochs over each rollout
    #[arg(long, visible_alias = "num-ppo-epochs", value_name = "N", default_value = "2")]
    pub ppo_epochs: NonZeroUsize,
    /// Minibatches per epoch, one optimizer step each, of equal numbers of prompts [default: 2]
    #[arg(
        long,
        visible_alias = "num-mini-batches",
        alias = "mini-batches",
        value_name = "N",
        conflicts_with = "mini_batch_size"
    )]
    pub num_minibatches: Option<NonZeroUsize>,
    /// Prompts per micro-batch, instead of --num-minibatches: an optimizer step after N times
    /// --grad-accum-steps prompts
    #[arg(long, value_name = "N")]
    pub mini_batch_size: Option<NonZeroUsize>,
    /// Clip range ε of the policy ratio: no gradient beyond 1 ± ε
    #[arg(
        long, visible_aliases = ["cliprange", "epsilon"], alias = "clip", value_name = "X",
        default_value_t = 0.2, value_parser = positive
    )]
    pub clip_range: f64,
    /// Clip range of the values around those of the rollout; 0: no value clipping
    #[arg(
        long, visible_alias = "cliprange-value", alias = "value-clip", value_name = "X",
        default_value_t = 0.2, value_parser = non_negative
    )]
    pub value_clip_range: f64,
    /// Value loss coefficient
    #[arg(
        long, visible_alias = "vf-coef", value_name = "X", default_value_t = 0.5,
        value_parser = non_negative
    )]
    pub value_coef: f64,
    /// Entropy bonus coefficient, per nat
    #[arg(long, value_name = "X", default_value_t = 0., value_parser = non_negative)]
    pub entropy_coef: f64,
    /// Stop the epochs over a rollout when the KL to the rollout policy exceeds X nats per token
    #[arg(
        long, visible_alias = "target-kl", alias = "max-kl", value_name = "X",
        value_parser = positive
    )]
    pub early_stop_kl: Option<f64>,
    /// Backbone of the critic [default: separate; with LoRA, shared with the policy]
    #[arg(long, value_enum)]
    pub critic: Option<CriticBackbone>,
    /// Learning rate of the critic, as a multiple of --lr
    #[arg(
        long, alias = "critic-rate", value_name = "X", default_value_t = 5., value_parser = positive
    )]
    pub critic_lr_multiplier: f64,
    /// PTX coefficient (PPO-ptx): weight of the SFT loss on the completions of --data
    #[arg(
        long, alias = "mix-coef", value_name = "X", default_value_t = 0.,
        value_parser = non_negative
    )]
    pub ptx_coef: f64,
}

impl PpoObjectiveFlags {
    /// Minibatches per epoch over `batch_size` prompts, of `grad_accum_steps` micro-batches.
    ///
    /// # Errors
    /// A usage error when --mini-batch-size does not divide the prompts.
    pub fn num_minibatches(&self, batch_size: usize, grad_accum_steps: usize) -> Result<usize> {
        let Some(mini_batch_size) = self.mini_batch_size else {
            return Ok(self.num_minibatches.map_or(2, NonZeroUsize::get));
        };
        let per_step = mini_batch_size.get().saturating_mul(grad_accum_steps);
        ensure_usage(
            batch_size > 0 && batch_size.is_multiple_of(per_step),
            format!(
                "--batch-size {batch_size} prompts cannot be split into steps of --mini-batch-size \
                 {mini_batch_size} times --grad-accum-steps {grad_accum_steps}"
            ),
        )?;
        Ok(batch_size / per_step)
    }

    /// Settings of the update over `batch_size` prompts, in optimizer steps of `step`.
    ///
    /// # Errors
    /// Those of [`num_minibatches`](Self::num_minibatches).
    pub fn update_config(
        &self,
        batch_size: usize,
        step: &OptimizationFlags,
    ) -> Result<PpoUpdateConfig> {
        let grad_accum_steps = step.grad_accum_steps.get();
        Ok(PpoUpdateConfig {
            ppo_epochs: self.ppo_epochs.get(),
            n_minibatches: self.num_minibatches(batch_size, grad_accum_steps)?,
            grad_accum_steps,
            clip_range: Clip::symmetric(self.clip_range),
            value_clip_range: Some(self.value_clip_range).filter(|&clip| clip > 0.),
            loss_weights: LossWeights {
                value_coef: self.value_coef,
                entropy_coef: self.entropy_coef,
            },
            early_stop_kl: self.early_stop_kl,
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
        })
    }

    /// Backbone of the critic. With LoRA the default is shared: a separate backbone would be
    /// trained as a whole and take the memory that LoRA saves.
    pub fn critic_backbone(&self, lora: &LoraFlags) -> CriticBackbone {
        let default = if lora.lora_rank.is_some() {
            CriticBackbone::Shared
        } else {
            CriticBackbone::Separate
        };
        self.critic.unwrap_or(default)
    }
}
