//! The figures of a step: where its time went, what was drawn, and what the updates did.

use std::time::Duration;

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
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The loss.
    pub loss: f64,
    /// Of the gradients, before clipping.
    pub norm: f64,
    /// What it saw.
    pub seen: Seen,
}

/// The figures of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) reward: f64,
    pub(crate) std: f64,
    pub(crate) without_signal: f64,
    pub(crate) length: f64,
    pub(crate) ended: f64,
    pub(crate) entropy: f64,
    pub(crate) tokens: usize,
    pub(crate) update: Option<(Update, f64)>, // the last of the step, and the mismatch before the first
}

impl Times {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.generation + self.scoring + self.training
    }
}

impl Row {
    pub(crate) fn of(drawn: &Experience, updates: &[Update]) -> Self {
        let responses = || drawn.groups.iter().flat_map(|group| &group.responses);
        let n = drawn.rewards.len() as f64;
        let reward = drawn.rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let variance =
            drawn.rewards.iter().map(|&r| (f64::from(r) - reward).powi(2)).sum::<f64>() / n;
        let tokens = drawn.tokens();
        let surprise: f64 = responses().flat_map(|r| &r.log_probs).map(|&x| -f64::from(x)).sum();
        Self {
            reward,
            std: variance.sqrt(),
            without_signal: drawn.advantages.groups_without_signal as f64
                / drawn.groups.len() as f64,
            length: tokens as f64 / n,
            ended: responses().filter(|response| response.ended()).count() as f64 / n,
            entropy: surprise / tokens as f64, // its mean is the entropy, as the tokens are the policy's own
            tokens,
            update: updates.last().map(|last| (*last, updates[0].seen.mismatch)),
        }
    }
}
