//! Step metrics: rewards and completions of a step, its updates and timings, and their means over
//! several steps as a row of the log.

use std::time::Duration;

use experiment::machine::resident_bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::experience::GrpoExperience;
use crate::update::GrpoUpdateMetrics;

/// Time of each phase of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PhaseTimings {
    /// Rollouts and rewards.
    pub generation: Duration,
    /// Log-probabilities under the old policy and the reference.
    pub log_probs: Duration,
    /// Gradients and optimizer steps.
    pub training: Duration,
}

/// Metrics of one optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GrpoStepMetrics {
    /// Loss before the step.
    pub loss: f64,
    /// Gradient norm before clipping.
    #[serde(alias = "norm")]
    pub grad_norm: f64,
    /// Ratios and KL.
    #[serde(alias = "seen")]
    pub update_metrics: GrpoUpdateMetrics,
}

/// Metrics of a step of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    #[serde(alias = "reward")]
    pub(crate) reward_mean: f64,
    #[serde(alias = "std")]
    pub(crate) reward_std: f64,
    #[serde(alias = "without_signal")]
    pub(crate) frac_groups_zero_advantage: f64,
    /// True if all advantages of included completions are 0.
    #[serde(alias = "silent")]
    pub(crate) zero_advantage: bool,
    #[serde(alias = "length")]
    pub(crate) length_mean: f64,
    #[serde(alias = "ended")]
    pub(crate) eos_rate: f64,
    pub(crate) entropy: f64,
    #[serde(alias = "tokens")]
    pub(crate) n_tokens: usize,
    /// Metrics of the last optimizer step, and `sampler_log_prob_diff` of the first one.
    pub(crate) update: Option<(GrpoStepMetrics, f64)>,
}

impl PhaseTimings {
    /// Sum over the phases.
    pub fn total(&self) -> Duration {
        self.generation + self.log_probs + self.training
    }

    /// Fractions of generation, log-probabilities and training.
    pub fn fractions(&self) -> [f64; 3] {
        let total = self.total().as_secs_f64().max(1e-9);
        [self.generation, self.log_probs, self.training].map(|phase| phase.as_secs_f64() / total)
    }
}

impl LogRow {
    pub(crate) fn from_experience(
        experience: &GrpoExperience,
        updates: &[GrpoStepMetrics],
    ) -> Self {
        let completions = || experience.groups.iter().flat_map(|group| &group.completions);
        let (rewards, n) = (&experience.rewards, experience.rewards.len() as f64);
        let reward_mean = rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let variance = rewards.iter().map(|&r| (f64::from(r) - reward_mean).powi(2)).sum::<f64>();
        let variance = variance / n;
        let n_tokens = experience.n_tokens();
        let n_groups = experience.groups.len();
        let n_zero = (0..n_groups).filter(|&g| !experience.has_nonzero_advantage(g)).count();
        let log_probs = completions().flat_map(|one| &one.log_probs);
        let surprisal: f64 = log_probs.map(|&x| -f64::from(x)).sum();
        let diff_before = |first: &GrpoStepMetrics| first.update_metrics.sampler_log_prob_diff;
        Self {
            reward_mean,
            reward_std: variance.sqrt(),
            frac_groups_zero_advantage: n_zero as f64 / n_groups as f64,
            zero_advantage: n_zero == n_groups,
            length_mean: n_tokens as f64 / n,
            eos_rate: completions().filter(|one| one.terminated()).count() as f64 / n,
            // The mean surprisal estimates the entropy, because the policy sampled the tokens.
            entropy: surprisal / n_tokens as f64,
            n_tokens,
            update: updates.last().map(|last| (*last, diff_before(&updates[0]))),
        }
    }
}

/// Means of `rows`, of which there is at least one, as a row of the log. Quantities that were not
/// measured are left out: a step without an update has no loss, a run without a reference no KL.
pub(crate) fn average_metrics(rows: &[LogRow], timings: &PhaseTimings) -> Value {
    let mean = |of: &dyn Fn(&LogRow) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let mean_of_updates = |of: &dyn Fn(&GrpoStepMetrics) -> Option<f64>| {
        let updates = rows.iter().filter_map(|row| row.update.as_ref());
        let all: Vec<f64> = updates.filter_map(|(update, _)| of(update)).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let diffs: Vec<f64> = rows.iter().filter_map(|row| Some(row.update?.1)).collect();
    let diff = diffs.iter().sum::<f64>() / diffs.len() as f64; // NaN of an empty list becomes null
    let [generation, log_probs, training] = timings.fractions();
    let mut metrics = json!({
        "reward_mean": mean(&|row| row.reward_mean), "reward_std": mean(&|row| row.reward_std),
        "frac_groups_zero_advantage": mean(&|row| row.frac_groups_zero_advantage),
        "length_mean": mean(&|row| row.length_mean), "eos_rate": mean(&|row| row.eos_rate),
        "entropy": mean(&|row| row.entropy),
        "loss": mean_of_updates(&|update| Some(update.loss)),
        "grad_norm": mean_of_updates(&|update| Some(update.grad_norm)),
        "kl": mean_of_updates(&|update| update.update_metrics.kl_per_completion),
        "kl_per_token": mean_of_updates(&|update| update.update_metrics.kl_per_token),
        "clip_fraction": mean_of_updates(&|update| Some(update.update_metrics.clip_fraction)),
        "ratio_max": mean_of_updates(&|update| Some(update.update_metrics.ratio_max)),
        "sampler_log_prob_diff": diff,
        "generation_time_fraction": generation, "log_probs_time_fraction": log_probs,
        "training_time_fraction": training,
        "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
    });
    if let Value::Object(metrics) = &mut metrics {
        metrics.retain(|_, metric| !metric.is_null());
    }
    metrics
}
