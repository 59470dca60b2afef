//! 8.5 Rewards of a run, as far as they say that nothing is left to learn.
//!
//! Where all completions of a step get the same reward, none is better than another, and a policy
//! gradient is 0 or noise. At the highest reward that there is, the policy has solved its prompts,
//! and the run can end. At a lower one something is wrong. The highest reward of a reward model or
//! a reward program is not known: a run that has climbed to a plateau has nothing left to learn
//! there and can end, too, but whether its prompts are solved is open.
//!
//! One such step may be chance. The rule of three says how much many of them are worth: if a share
//! of 3/n of all completions failed, n without a failure would have a probability of
//! (1 − 3/n)ⁿ ≈ e⁻³ = 5 %, so at 95 % confidence fewer fail.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Alarm;

/// Completions without another reward before a plateau ends a run, however few are sampled per
/// step: fewer than 1 % get another one then, by the rule of three.
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
    /// At the highest reward there is: the prompts are solved.
    Highest,
    /// At the highest reward of the run, in which there were lower ones. Whether a higher one is
    /// possible is not known.
    HighestOfRun,
    /// Below these, or at the only reward of the run.
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
        let level = match max_reward {
            Some(max) if reward >= max - ROUNDING * max.abs().max(1.) => Level::Highest,
            None if lowest < reward && reward >= highest => Level::HighestOfRun,
            _ => Level::Lower,
        };
        let (n_steps, n_completions) = before
            .filter(|before| (before.level, before.reward) == (level, reward))
            .map_or((0, 0), |before| (before.n_steps, before.n_completions));
        self.plateau = Some(Plateau {
            level,
            reward,
            n_steps: n_steps.saturating_add(1),
            n_completions: n_completions.saturating_add(rewards.len()),
        });
    }
}

impl Plateau {
    /// True if nothing is left to learn after `n_steps` such steps.
    pub fn ends_run(&self, n_steps: usize) -> bool {
        self.level != Level::Lower
            && self.n_steps >= n_steps
            && self.n_completions >= MIN_COMPLETIONS
    }

    /// True if no reward is higher.
    pub fn is_solved(&self) -> bool {
        self.level == Level::Highest
    }

    /// Message about a run that this plateau ended at `step` of `total_steps`.
    pub fn end_message(&self, step: usize, total_steps: usize) -> String {
        match self.level {
            Level::Highest => format!("solved at step {step} of {total_steps}: {self}"),
            Level::HighestOfRun | Level::Lower => {
                format!("nothing left to learn at step {step} of {total_steps}: {self}")
            }
        }
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
        let Self { level, reward, n_steps, n_completions } = *self;
        let (reward, percent) = (reward as f32, 300. / n_completions as f64);
        let value = match level {
            Level::Highest => format!("the highest reward, {reward}"),
            Level::HighestOfRun => {
                format!("{reward}, the highest reward of the run (a higher one may exist)")
            }
            Level::Lower => format!("the reward {reward}"),
        };
        write!(
            f,
            "all {n_completions} completions of the last {n_steps} steps got {value}; at 95 % \
             confidence fewer than {percent:.2} % do not"
        )
    }
}
