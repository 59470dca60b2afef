//! 7.4 Normalization: rewards scaled to mean 0 and standard deviation 1 on reference texts.
//!
//! Bradley-Terry trains differences only, so the mean and spread of raw rewards vary from run to
//! run. Normalized rewards have the scale that the coefficients of PPO's loss terms are tuned for.
//! Stiennon et al. (<https://arxiv.org/abs/2009.01325>) use texts of the reference policy, so that
//! rewards start near 0. Here the reference texts are the completions of the validation pairs,
//! chosen and rejected, so a policy that is mostly right starts above 0. The mean and standard
//! deviation are stored with the model.

use anyhow::{Context, Result, ensure};
use experiment::statistics;
use serde::Serialize;
use serde_json::{Value, json};

/// Mean and standard deviation of raw rewards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RewardNormalization {
    /// Mean raw reward of the reference texts.
    pub mean: f64,
    /// Standard deviation of their raw rewards, above 0.
    pub std: f64,
}

impl RewardNormalization {
    /// Identity: rewards stay as they are.
    pub const NONE: Self = Self { mean: 0., std: 1. };

    /// Normalization by the mean and standard deviation of `rewards`. If all are equal, only the
    /// mean is subtracted.
    pub fn from_rewards(rewards: &[f64]) -> Self {
        let std = statistics::std(rewards);
        Self { mean: statistics::mean(rewards), std: if std > 1e-12 { std } else { 1. } }
    }

    /// Normalized reward, (reward − mean) / std.
    pub fn normalize(&self, reward: f64) -> f64 {
        (reward - self.mean) / self.std
    }

    /// JSON value for a model's `config.json`.
    pub(crate) fn to_json(self) -> Value {
        json!({ "mean": self.mean, "std": self.std })
    }

    /// Reads the normalization from `config.json`. Models of other programs do not have one; they
    /// get [`Self::NONE`].
    ///
    /// # Errors
    /// When a number is missing, or the standard deviation is not above 0.
    pub(crate) fn from_json(json: &Value) -> Result<Self> {
        if json.is_null() {
            return Ok(Self::NONE);
        }
        let number = |key: &str| {
            json[key].as_f64().with_context(|| format!("`reward_normalisation` lacks `{key}`"))
        };
        let (mean, std) = (number("mean")?, number("std")?);
        ensure!(std > 0., "`reward_normalisation`: std must be above 0, got {std}");
        Ok(Self { mean, std })
    }
}
