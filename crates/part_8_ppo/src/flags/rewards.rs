//! What rewards are made of.

use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use tiny_gpt::command::as_usage_error;
use tiny_gpt::flags::{non_negative, positive, probability};

use crate::gae::GaeConfig;
use crate::kl::{KlController, KlEstimator};
use crate::rewards::{RewardScaling, RewardShapingConfig, TruncationHandling};

/// From scores to advantages.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct RewardShapingFlags {
    /// What a nat of KL to the reference costs
    #[arg(
        long, visible_alias = "beta", alias = "kl-coeff", value_name = "X", default_value_t = 0.02, allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub kl_coef: f64,
    /// How it is estimated
    #[arg(long, value_enum, default_value_t)]
    pub kl_estimator: KlEstimator,
    /// Change --kl-coef so that responses stay this many nats from the reference
    #[arg(long, alias = "kl-target", value_name = "X", allow_negative_numbers = true, value_parser = positive)]
    pub adaptive_kl_target: Option<f64>,
    /// Responses in which it changes [default: 10000]
    #[arg(
        long, alias = "kl-horizon", value_name = "N", allow_negative_numbers = true, value_parser = positive,
        requires = "adaptive_kl_target"
    )]
    pub adaptive_kl_horizon: Option<f64>,
    /// Keep scores between minus this and this
    #[arg(long, alias = "score-clip", value_name = "X", allow_negative_numbers = true, value_parser = positive)]
    pub reward_clip: Option<f64>,
    /// What a response is worth that was cut off before it ended
    #[arg(long, alias = "cut", value_enum, default_value_t)]
    pub truncation: TruncationHandling,
    /// What it loses besides
    #[arg(
        long, alias = "cut-penalty", value_name = "X", default_value_t = 1., allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub missing_eos_penalty: f64,
    /// What becomes of rewards before advantages are made of them
    #[arg(long, alias = "rewards", value_enum, default_value_t)]
    pub reward_scaling: RewardScaling,
    /// What a reward is worth a token later
    #[arg(
        long, value_name = "X", default_value_t = 1., allow_negative_numbers = true,
        value_parser = probability
    )]
    pub gamma: f64,
    /// How far rewards are trusted over values
    #[arg(
        long, visible_alias = "lam", alias = "lambda", value_name = "X", default_value_t = 0.95, allow_negative_numbers = true,
        value_parser = unit_interval
    )]
    pub gae_lambda: f64,
}

impl RewardShapingFlags {
    /// # Errors
    /// A usage error when a price is to change that cannot.
    pub fn check(&self) -> Result<()> {
        as_usage_error(match self.adaptive_kl_target.is_some() && self.kl_coef == 0. {
            true => {
                Err(anyhow!("--adaptive-kl-target changes --kl-coef by factors: give one above 0"))
            }
            false => Ok(()),
        })
    }

    /// How scores become advantages.
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

    /// How much a nat of KL costs.
    pub fn kl_controller(&self) -> KlController {
        let (initial, horizon) = (self.kl_coef, self.adaptive_kl_horizon.unwrap_or(10_000.));
        let adaptive = |target| KlController::Adaptive { init_kl_coef: initial, target, horizon };
        self.adaptive_kl_target.map_or(KlController::Fixed(initial), adaptive)
    }
}

/// A share, 0 included.
pub(super) fn unit_interval(text: &str) -> std::result::Result<f64, String> {
    let number = non_negative(text)?;
    if number <= 1. { Ok(number) } else { Err("must be at most 1".into()) }
}
