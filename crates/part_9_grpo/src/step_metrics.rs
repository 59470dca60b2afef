//! The figures of a step: where its time went, what was drawn, and what the updates did; and those of several steps as a row.

use std::time::Duration;

use scaling::machine::resident_bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::experience::GrpoExperience;
use crate::update::GrpoUpdateMetrics;

/// Where a run's time goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PhaseTimings {
    /// Writing completions.
    pub generation: Duration,
    /// Judging them, and what the reference says of them.
    pub log_probs: Duration,
    /// Gradients and steps.
    pub training: Duration,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GrpoStepMetrics {
    /// The loss.
    pub loss: f64,
    /// Of the gradients, before clipping.
    #[serde(alias = "norm")]
    pub grad_norm: f64,
    /// What it saw.
    #[serde(alias = "seen")]
    pub update_metrics: GrpoUpdateMetrics,
}

/// The figures of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    #[serde(alias = "reward")]
    pub(crate) reward_mean: f64,
    #[serde(alias = "std")]
    pub(crate) reward_std: f64,
    #[serde(alias = "without_signal")]
    pub(crate) frac_groups_zero_advantage: f64,
    /// Whether no completion that takes part was better than what it was compared with.
    #[serde(alias = "silent")]
    pub(crate) zero_advantage: bool,
    #[serde(alias = "length")]
    pub(crate) length_mean: f64,
    #[serde(alias = "ended")]
    pub(crate) eos_rate: f64,
    pub(crate) entropy: f64,
    #[serde(alias = "tokens")]
    pub(crate) n_tokens: usize,
    /// The last of the step, and the mismatch before the first.
    pub(crate) update: Option<(GrpoStepMetrics, f64)>,
}

impl PhaseTimings {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.generation + self.log_probs + self.training
    }

    /// The shares of generation, scoring and training.
    pub fn fractions(&self) -> [f64; 3] {
        let all = self.total().as_secs_f64().max(1e-9);
        [self.generation, self.log_probs, self.training].map(|part| part.as_secs_f64() / all)
    }
}

impl LogRow {
    pub(crate) fn from_experience(drawn: &GrpoExperience, updates: &[GrpoStepMetrics]) -> Self {
        let responses = || drawn.groups.iter().flat_map(|group| &group.completions);
        let n = drawn.rewards.len() as f64;
        let reward = drawn.rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let variance =
            drawn.rewards.iter().map(|&r| (f64::from(r) - reward).powi(2)).sum::<f64>() / n;
        let tokens = drawn.n_tokens();
        let groups = drawn.groups.len();
        let silent = (0..groups).filter(|&group| !drawn.has_nonzero_advantage(group)).count();
        let surprise: f64 = responses().flat_map(|r| &r.log_probs).map(|&x| -f64::from(x)).sum();
        Self {
            reward_mean: reward,
            reward_std: variance.sqrt(),
            frac_groups_zero_advantage: silent as f64 / groups as f64,
            zero_advantage: silent == groups,
            length_mean: tokens as f64 / n,
            eos_rate: responses().filter(|response| response.terminated()).count() as f64 / n,
            entropy: surprise / tokens as f64, // its mean is the entropy, as the tokens are the policy's own
            n_tokens: tokens,
            update: updates
                .last()
                .map(|last| (*last, updates[0].update_metrics.sampler_log_prob_diff)),
        }
    }
}

/// The means of `rows`, of which there is at least one, as figures of a run. What was not measured is left out: a step without an
/// update has no loss, a run without a reference no KL.
pub(crate) fn average_metrics(rows: &[LogRow], times: &PhaseTimings) -> Value {
    let mean = |of: &dyn Fn(&LogRow) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let of_updates = |of: &dyn Fn(&GrpoStepMetrics) -> Option<f64>| {
        let updates = rows.iter().filter_map(|row| row.update.as_ref());
        let all: Vec<f64> = updates.filter_map(|(update, _)| of(update)).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let mismatches: Vec<f64> = rows.iter().filter_map(|row| Some(row.update?.1)).collect();
    let mismatch = mismatches.iter().sum::<f64>() / mismatches.len() as f64; // none of none: no number, so null
    let [generation, scoring, training] = times.fractions();
    let mut figures = json!({
        "reward_mean": mean(&|row| row.reward_mean), "reward_std": mean(&|row| row.reward_std),
        "frac_groups_zero_advantage": mean(&|row| row.frac_groups_zero_advantage),
        "length_mean": mean(&|row| row.length_mean), "eos_rate": mean(&|row| row.eos_rate),
        "entropy": mean(&|row| row.entropy),
        "loss": of_updates(&|update| Some(update.loss)),
        "grad_norm": of_updates(&|update| Some(update.grad_norm)),
        "kl": of_updates(&|update| update.update_metrics.kl_per_completion),
        "kl_per_token": of_updates(&|update| update.update_metrics.kl_per_token),
        "clip_fraction": of_updates(&|update| Some(update.update_metrics.clip_fraction)),
        "ratio_max": of_updates(&|update| Some(update.update_metrics.ratio_max)),
        "sampler_log_prob_diff": mismatch,
        "generation_time_fraction": generation, "log_probs_time_fraction": scoring, "training_time_fraction": training,
        "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
    });
    if let Value::Object(figures) = &mut figures {
        figures.retain(|_, figure| !figure.is_null());
    }
    figures
}
