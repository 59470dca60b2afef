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
        long, value_name = "X", default_value_t = 0.02, allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub kl_coef: f64,
    /// How it is estimated
    #[arg(long, value_enum, default_value_t)]
    pub kl_estimator: KlEstimator,
    /// Change --kl-coef so that responses stay this many nats from the reference
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = positive)]
    pub kl_target: Option<f64>,
    /// Responses in which it changes [default: 10000]
    #[arg(
        long, value_name = "N", allow_negative_numbers = true, value_parser = positive,
        requires = "kl_target"
    )]
    pub kl_horizon: Option<f64>,
    /// Keep scores between minus this and this
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = positive)]
    pub score_clip: Option<f64>,
    /// What a response is worth that was cut off before it ended
    #[arg(long, value_enum, default_value_t)]
    pub cut: TruncationHandling,
    /// What it loses besides
    #[arg(
        long, value_name = "X", default_value_t = 1., allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub cut_penalty: f64,
    /// What becomes of rewards before advantages are made of them
    #[arg(long, value_enum, default_value_t)]
    pub rewards: RewardScaling,
    /// What a reward is worth a token later
    #[arg(
        long, value_name = "X", default_value_t = 1., allow_negative_numbers = true,
        value_parser = probability
    )]
    pub gamma: f64,
    /// How far rewards are trusted over values
    #[arg(
        long, value_name = "X", default_value_t = 0.95, allow_negative_numbers = true,
        value_parser = unit_interval
    )]
    pub lambda: f64,
}

impl RewardShapingFlags {
    /// # Errors
    /// A usage error when a price is to change that cannot.
    pub fn check(&self) -> Result<()> {
        as_usage_error(match self.kl_target.is_some() && self.kl_coef == 0. {
            true => Err(anyhow!("--kl-target changes --kl-coef by factors: give one above 0")),
            false => Ok(()),
        })
    }

    /// How scores become advantages.
    pub fn config(&self) -> RewardShapingConfig {
        RewardShapingConfig {
            gae: GaeConfig { gamma: self.gamma, lambda: self.lambda },
            kl_estimator: self.kl_estimator,
            reward_clip: self.score_clip,
            truncation: self.cut,
            missing_eos_penalty: self.cut_penalty,
            reward_scaling: self.rewards,
        }
    }

    /// How much a nat of KL costs.
    pub fn kl_controller(&self) -> KlController {
        let (initial, horizon) = (self.kl_coef, self.kl_horizon.unwrap_or(10_000.));
        let adaptive = |target| KlController::Adaptive { init_kl_coef: initial, target, horizon };
        self.kl_target.map_or(KlController::Fixed(initial), adaptive)
    }
}

/// A share, 0 included.
pub(super) fn unit_interval(text: &str) -> std::result::Result<f64, String> {
    let number = non_negative(text)?;
    if number <= 1. { Ok(number) } else { Err("must be at most 1".into()) }
}
