//! The figures of a step: where its time went, what was drawn, and what the updates did; and those of several steps as a row.

use std::time::Duration;

use scaling::machine::resident_bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::experience::Experience;
use crate::update::Seen;

/// Where a run's time goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// Writing completions.
    pub generation: Duration,
    /// Judging them, and what the reference says of them.
    pub scoring: Duration,
    /// Gradients and steps.
    pub training: Duration,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The loss.
    pub loss: f64,
    /// Of the gradients, before clipping.
    pub norm: f64,
    /// What it saw.
    pub seen: Seen,
}

/// The figures of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) reward: f64,
    pub(crate) std: f64,
    pub(crate) without_signal: f64,
    /// Whether no completion that takes part was better than what it was compared with.
    pub(crate) silent: bool,
    pub(crate) length: f64,
    pub(crate) ended: f64,
    pub(crate) entropy: f64,
    pub(crate) tokens: usize,
    /// The last of the step, and the mismatch before the first.
    pub(crate) update: Option<(Update, f64)>,
}

impl Times {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.generation + self.scoring + self.training
    }

    /// The shares of generation, scoring and training.
    pub fn shares(&self) -> [f64; 3] {
        let all = self.total().as_secs_f64().max(1e-9);
        [self.generation, self.scoring, self.training].map(|part| part.as_secs_f64() / all)
    }
}

impl Row {
    pub(crate) fn of(drawn: &Experience, updates: &[Update]) -> Self {
        let responses = || drawn.groups.iter().flat_map(|group| &group.completions);
        let n = drawn.rewards.len() as f64;
        let reward = drawn.rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let variance =
            drawn.rewards.iter().map(|&r| (f64::from(r) - reward).powi(2)).sum::<f64>() / n;
        let tokens = drawn.tokens();
        let groups = drawn.groups.len();
        let silent = (0..groups).filter(|&group| !drawn.has_signal(group)).count();
        let surprise: f64 = responses().flat_map(|r| &r.log_probs).map(|&x| -f64::from(x)).sum();
        Self {
            reward,
            std: variance.sqrt(),
            without_signal: silent as f64 / groups as f64,
            silent: silent == groups,
            length: tokens as f64 / n,
            ended: responses().filter(|response| response.terminated()).count() as f64 / n,
            entropy: surprise / tokens as f64, // its mean is the entropy, as the tokens are the policy's own
            tokens,
            update: updates.last().map(|last| (*last, updates[0].seen.mismatch)),
        }
    }
}

/// The means of `rows`, of which there is at least one, as figures of a run. What was not measured is left out: a step without an
/// update has no loss, a run without a reference no KL.
pub(crate) fn figures(rows: &[Row], times: &Times) -> Value {
    let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let of_updates = |of: &dyn Fn(&Update) -> Option<f64>| {
        let updates = rows.iter().filter_map(|row| row.update.as_ref());
        let all: Vec<f64> = updates.filter_map(|(update, _)| of(update)).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let mismatches: Vec<f64> = rows.iter().filter_map(|row| Some(row.update?.1)).collect();
    let mismatch = mismatches.iter().sum::<f64>() / mismatches.len() as f64; // none of none: no number, so null
    let [generation, scoring, training] = times.shares();
    let mut figures = json!({
        "reward_mean": mean(&|row| row.reward), "reward_std": mean(&|row| row.std),
        "frac_groups_without_signal": mean(&|row| row.without_signal),
        "completion_length": mean(&|row| row.length), "eos_rate": mean(&|row| row.ended),
        "entropy": mean(&|row| row.entropy),
        "loss": of_updates(&|update| Some(update.loss)),
        "grad_norm": of_updates(&|update| Some(update.norm)),
        "kl": of_updates(&|update| update.seen.kl),
        "clip_fraction": of_updates(&|update| Some(update.seen.clip_fraction)),
        "ratio_max": of_updates(&|update| Some(update.seen.ratio_max)),
        "sampler_mismatch": mismatch,
        "share_generation": generation, "share_scoring": scoring, "share_training": training,
        "memory_mb": resident_bytes().map(|bytes| bytes / 1_000_000),
    });
    if let Value::Object(figures) = &mut figures {
        figures.retain(|_, figure| !figure.is_null());
    }
    figures
}
