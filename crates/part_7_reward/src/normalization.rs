//! 7.4 Normalisation: scores brought to mean 0 and standard deviation 1 on reference texts.
//!
//! Bradley-Terry learns differences alone, so where scores lie and how wide they spread is an accident of the run. Normalised, they
//! are on a scale that the weights of PPO's terms are made for. Stiennon et al. (<https://arxiv.org/abs/2009.01325>) take texts that
//! the reference policy wrote, for its rewards to begin near 0; here it is the answers of the validation pairs, good and bad, so that a
//! policy that is mostly right begins above 0. The two numbers are stored with the model.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

/// Where scores lie, and how wide they spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RewardNormalization {
    /// Mean score of the reference texts.
    pub mean: f64,
    /// Its standard deviation, above 0.
    pub std: f64,
}

impl RewardNormalization {
    /// Leaves scores as they are.
    pub const NONE: Self = Self { mean: 0., std: 1. };

    /// That of the texts with these scores. Where all have the same, only their mean is taken away.
    pub fn from_rewards(scores: &[f64]) -> Self {
        let n = scores.len().max(1) as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n;
        let std = variance.sqrt();
        Self { mean, std: if std > 1e-12 { std } else { 1. } }
    }

    /// (score − mean) / std
    pub fn normalize(&self, score: f64) -> f64 {
        (score - self.mean) / self.std
    }

    /// As a model's `config.json` holds it.
    pub(crate) fn to_json(self) -> Value {
        json!({ "mean": self.mean, "std": self.std })
    }

    /// The same read; a model of others has none.
    ///
    /// # Errors
    /// When the numbers are missing, or the deviation is not above 0.
    pub(crate) fn from_json(json: &Value) -> Result<Self> {
        if json.is_null() {
            return Ok(Self::NONE);
        }
        let number = |key: &str| {
            json[key].as_f64().with_context(|| format!("`reward_normalisation` has no `{key}`"))
        };
        let found = Self { mean: number("mean")?, std: number("std")? };
        ensure!(found.std > 0., "`reward_normalisation` has a deviation of {}", found.std);
        Ok(found)
    }
}
