//! Flags of reward shaping and advantage estimation.

use anyhow::{Result, anyhow};
use clap::Args;
use experiment::number::{non_negative, positive, probability};
use experiment::program::as_usage_error;
use serde::Serialize;

use crate::gae::GaeConfig;
use crate::kl::{KlController, KlEstimator};
use crate::rewards::{RewardScaling, RewardShapingConfig, TruncationHandling};

/// Flags of reward shaping: KL penalty, truncation, scaling, and GAE.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct RewardShapingFlags {
    /// KL coefficient β: penalty per nat of KL to the reference model
    #[arg(
        long, visible_alias = "beta", alias = "kl-coeff", value_name = "X", default_value_t = 0.02,
        allow_negative_numbers = true, value_parser = non_negative
    )]
    pub kl_coef: f64,
    /// KL estimator of the penalty
    #[arg(long, value_enum, default_value_t)]
    pub kl_estimator: KlEstimator,
    /// Adapt --kl-coef, from its given value, so that the KL stays near X nats per completion
    #[arg(
        long, alias = "kl-target", value_name = "X", allow_negative_numbers = true,
        value_parser = positive
    )]
    pub adaptive_kl_target: Option<f64>,
    /// Completions over which --kl-coef adapts [default: 10000]
    #[arg(
        long, alias = "kl-horizon", value_name = "N", allow_negative_numbers = true,
        value_parser = positive, requires = "adaptive_kl_target"
    )]
    pub adaptive_kl_horizon: Option<f64>,
    /// Clip rewards to [-X, X]
    #[arg(
        long, alias = "score-clip", value_name = "X", allow_negative_numbers = true,
        value_parser = positive
    )]
    pub reward_clip: Option<f64>,
    /// Treatment of truncated completions
    #[arg(long, alias = "cut", value_enum, default_value_t)]
    pub truncation: TruncationHandling,
    /// Penalty subtracted from the reward of a truncated completion
    #[arg(
        long, alias = "cut-penalty", value_name = "X", default_value_t = 1.,
        allow_negative_numbers = true, value_parser = non_negative
    )]
    pub missing_eos_penalty: f64,
    /// Scaling of per-token rewards before advantages are computed
    #[arg(long, alias = "rewards", value_enum, default_value_t)]
    pub reward_scaling: RewardScaling,
    /// Discount factor γ
    #[arg(
        long, value_name = "X", default_value_t = 1., allow_negative_numbers = true,
        value_parser = probability
    )]
    pub gamma: f64,
    /// GAE λ: 0 = one-step TD, 1 = Monte Carlo
    #[arg(
        long, visible_alias = "lam", alias = "lambda", value_name = "X", default_value_t = 0.95,
        allow_negative_numbers = true, value_parser = unit_interval
    )]
    pub gae_lambda: f64,
}

impl RewardShapingFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// A usage error when --kl-coef 0 is to be adapted.
    pub fn check(&self) -> Result<()> {
        as_usage_error(match self.adaptive_kl_target.is_some() && self.kl_coef == 0. {
            true => Err(anyhow!("--adaptive-kl-target multiplies --kl-coef: set one above 0")),
            false => Ok(()),
        })
    }

    /// Settings from rewards to advantages.
    pub fn config(&self) -> RewardShapingConfig {
        RewardShapingConfig {
            gae: GaeConfig { gamma: self.gamma, lambda: self.gae_lambda },
            kl_estimator: self.kl_estimator,
            reward_clip: self.reward_clip,
            truncation: self.truncation,
            missing_eos_penalty: self.missing_eos_penalty,
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

/// Parses a number from 0 to 1.
pub(super) fn unit_interval(text: &str) -> std::result::Result<f64, String> {
    let number = non_negative(text)?;
    if number <= 1. { Ok(number) } else { Err("must be at most 1".into()) }
}
