//! 8.5 Rewards of a run, as far as they say that nothing is left to learn.
//!
//! Where all completions of a step get the same reward, none is better than another, and a policy
//! gradient is 0 or noise. At the highest reward the policy has solved its prompts, and the run can
//! end. At a lower one something is wrong.
//!
//! One such step may be chance. The rule of three says how much many of them are worth: if a share
//! of 3/n of all completions failed, n without a failure would have a probability of
//! (1 − 3/n)ⁿ ≈ e⁻³ = 5 %, so at 95 % confidence fewer fail.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Alarm;

/// Completions without a failure before a policy counts as solved, however few are sampled per
/// step: fewer than 1 % fail then, by the rule of three.
const MIN_COMPLETIONS: usize = 300;
/// Distance from the highest reward that rounding to f32 explains, relative to it.
const ROUNDING: f64 = 1e-6;

/// Range of the rewards of a run, and its current plateau.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardHistory {
    /// Lowest and highest reward so far.
    range: Option<(f64, f64)>,
    /// Plateau that the latest step belongs to.
    pub plateau: Option<Plateau>,
}

/// Steps in a row in which all completions got the same reward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Where the reward is.
    pub level: Level,
    /// Reward of all completions.
    pub reward: f64,
    /// Number of steps.
    pub n_steps: usize,
    /// Number of their completions.
    pub n_completions: usize,
}

/// Position of a plateau.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// At the highest reward there is; if that is not known, at the highest of the run, in which
    /// there were lower ones.
    Highest,
    /// Below it, or at the only reward of the run.
    Lower,
}

impl RewardHistory {
    /// Records the rewards of the completions of a step. `max_reward` is the highest that a
    /// completion can get, if it is known. A step without rewards ends a plateau.
    pub fn record(&mut self, rewards: &[f64], max_reward: Option<f64>) {
        let before = self.plateau.take();
        let Some(&reward) = rewards.first() else { return };
        let step =
            rewards.iter().fold((reward, reward), |(low, high), &r| (low.min(r), high.max(r)));
        let (lowest, highest) =
            self.range.map_or(step, |(low, high)| (low.min(step.0), high.max(step.1)));
        self.range = Some((lowest, highest));
        if step.0 < step.1 {
            return;
        }
        let is_highest = match max_reward {
            Some(max) => reward >= max - ROUNDING * max.abs().max(1.),
            None => lowest < reward && reward >= highest,
        };
        let level = if is_highest { Level::Highest } else { Level::Lower };
        let (n_steps, n_completions) = before
            .filter(|before| (before.level, before.reward) == (level, reward))
            .map_or((0, 0), |before| (before.n_steps, before.n_completions));
        self.plateau = Some(Plateau {
            level,
            reward,
            n_steps: n_steps + 1,
            n_completions: n_completions + rewards.len(),
        });
    }
}

impl Plateau {
    /// True if nothing is left to learn after `n_steps` such steps.
    pub fn is_solved(&self, n_steps: usize) -> bool {
        self.level == Level::Highest
            && self.n_steps >= n_steps
            && self.n_completions >= MIN_COMPLETIONS
    }

    /// Alarm of a plateau below the highest reward, the worse the longer it is.
    pub fn alarm(&self) -> Option<Alarm> {
        let Self { level: Level::Lower, reward, n_steps, n_completions } = *self else {
            return None;
        };
        let reward = reward as f32; // 0.8 is not 0.800000012
        let message = format!(
            "all {n_completions} completions of {n_steps} step{} got the reward {reward}, so there \
             is nothing to learn from: read them in completions.jsonl; is the prompt in the format \
             that the model was trained on (--template), does --max-new-tokens leave room for the \
             answer, does the reward find it there (--reward), and is --temperature high enough \
             that completions differ?",
            if n_steps == 1 { "" } else { "s" }
        );
        Some(Alarm::new("equal_rewards", message).with_severity(n_steps as f64))
    }
}

impl fmt::Display for Plateau {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reward, n_steps, n_completions, .. } = *self;
        let reward = reward as f32;
        write!(
            f,
            "all {n_completions} completions of the last {n_steps} steps got the highest reward, \
             {reward}; at 95 % confidence fewer than {:.2} % do not",
            300. / n_completions as f64
        )
    }
}
