//! 9.5 Metrics of a step of the run, and their means as a row of the log.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::experience::GrpoExperience;
use crate::update_metrics::GrpoUpdateMetrics;

/// Seconds of each phase of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PhaseTimings {
    /// Rollouts and rewards.
    pub generation: f64,
    /// Log-probabilities under the old policy and the reference.
    pub log_probs: f64,
    /// Gradients and optimizer steps.
    pub training: f64,
}

/// Metrics of one step of the run, by their keys in a row of the log.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GrpoStepMetrics {
    /// Mean reward.
    pub reward_mean: f64,
    /// Standard deviation of the rewards.
    pub reward_std: f64,
    /// Share of the groups in which all advantages of included completions are 0.
    pub frac_groups_zero_advantage: f64,
    /// Mean length of a completion in tokens.
    pub length_mean: f64,
    /// Share of terminated completions.
    pub eos_rate: f64,
    /// Entropy of the policy in nats per token, estimated by the mean surprisal of its tokens.
    pub entropy: f64,
    /// Metrics of the last optimizer step, with the `sampler_log_prob_diff` of the first one;
    /// `None` if no group had a gradient.
    #[serde(flatten)]
    pub update: Option<GrpoUpdateMetrics>,
}

impl PhaseTimings {
    /// Sum over the phases.
    pub fn total(&self) -> f64 {
        self.generation + self.log_probs + self.training
    }

    /// Share of each phase in the total.
    pub fn fractions(&self) -> Self {
        let total = self.total().max(1e-9);
        Self {
            generation: self.generation / total,
            log_probs: self.log_probs / total,
            training: self.training / total,
        }
    }
}

impl GrpoStepMetrics {
    /// Metrics of a step with `updates` as its optimizer steps.
    pub fn new(experience: &GrpoExperience, updates: &[GrpoUpdateMetrics]) -> Self {
        let completions = || experience.groups.iter().flat_map(|group| &group.completions);
        let (rewards, n) = (&experience.rewards, experience.rewards.len() as f64);
        let reward_mean = rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let variance = rewards.iter().map(|&r| (f64::from(r) - reward_mean).powi(2)).sum::<f64>();
        let n_tokens = experience.n_tokens();
        let n_groups = experience.groups.len();
        let n_zero = (0..n_groups).filter(|&g| !experience.has_nonzero_advantage(g)).count();
        let log_probs = completions().flat_map(|completion| &completion.log_probs);
        Self {
            reward_mean,
            reward_std: (variance / n).sqrt(),
            frac_groups_zero_advantage: n_zero as f64 / n_groups as f64,
            length_mean: n_tokens as f64 / n,
            eos_rate: completions().filter(|completion| completion.terminated()).count() as f64 / n,
            entropy: log_probs.map(|&x| -f64::from(x)).sum::<f64>() / n_tokens as f64,
            update: updates.last().map(|last| GrpoUpdateMetrics {
                sampler_log_prob_diff: updates[0].sampler_log_prob_diff,
                ..*last
            }),
        }
    }

    /// True if all advantages of included completions are 0.
    pub fn is_zero_advantage(&self) -> bool {
        self.frac_groups_zero_advantage == 1.
    }
}

/// Means of the metrics of `steps`, each over the steps that have it: a step without an update has
/// no loss, a run without a reference no KL.
///
/// # Errors
/// Never in practice: all metrics are numbers.
pub fn mean_metrics(steps: &[GrpoStepMetrics]) -> Result<BTreeMap<String, f64>> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for step in steps {
        let metrics: BTreeMap<String, Option<f64>> =
            serde_json::from_value(serde_json::to_value(step)?)?;
        for (key, value) in metrics {
            values.entry(key).or_default().extend(value);
        }
    }
    values.retain(|_, values| !values.is_empty());
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    Ok(values.into_iter().map(|(key, values)| (key, mean(values))).collect())
}
