//! 4.3 The learning rate over the run: up from 0 while Adam's averages are guesses, then down, so that the last steps settle.
//!
//! ```text
//! warm-up   lr(n) = peak · n / warmup                                             for n ≤ warmup
//! cosine    lr(n) = floor + (peak − floor) · ½ (1 + cos(π (n − warmup) / (total − warmup)))
//! stable    lr(n) = peak, and over the last `decay` steps on a line to floor (warm-up, stable, decay)
//! ```
//!
//! n counts optimizer steps from 1 and the rate is set before its step, so the first step already has lr(1) = peak / warmup,
//! the last one lr(total) = floor, and there it stays. Cosine: Loshchilov and Hutter, <https://arxiv.org/abs/1608.03983>;
//! stable: Hu et al., <https://arxiv.org/abs/2404.06395>.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum DecayShape {
    /// Half a cosine, from the end of the warm-up to the last step.
    Cosine,
    /// Not at all until the last fifth of the steps, then on a line.
    #[value(aliases = ["wsd", "stable"])]
    #[serde(alias = "stable")]
    WarmupStableDecay,
    /// Not at all.
    Constant,
}

/// The learning rate of every step; a pure function, so that saving its settings and the step saves it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LrSchedule {
    /// The highest rate.
    #[serde(alias = "peak")]
    pub peak_lr: f64,
    /// The rate of the last step, and of all after it.
    #[serde(alias = "floor")]
    pub min_lr: f64,
    /// Steps until the peak.
    #[serde(alias = "warmup")]
    pub warmup_steps: usize,
    /// Steps in all.
    #[serde(alias = "total")]
    pub total_steps: usize,
    /// The way down.
    pub decay: DecayShape,
}

impl LrSchedule {
    /// The usual one: up to `peak` in a twentieth of the steps, and half a cosine down to a tenth of it.
    pub fn cosine(peak: f64, total: usize) -> Self {
        Self {
            peak_lr: peak,
            min_lr: peak / 10.,
            warmup_steps: total / 20,
            total_steps: total,
            decay: DecayShape::Cosine,
        }
    }

    /// The rate of optimizer step `n`, counted from 1.
    pub fn lr_at(&self, n: usize) -> f64 {
        let warmup = self.warmup_steps.max(1);
        if n <= warmup {
            return self.peak_lr * n as f64 / warmup as f64;
        }
        // How far n has come from `start` to the last step.
        let share = |start: usize| {
            let steps = self.total_steps.saturating_sub(start).max(1);
            (n.saturating_sub(start) as f64 / steps as f64).min(1.)
        };
        let left = match self.decay {
            DecayShape::Cosine => 0.5 * (1. + (PI * share(warmup)).cos()),
            DecayShape::WarmupStableDecay => 1. - share(self.total_steps - self.total_steps / 5),
            DecayShape::Constant => 1.,
        };
        self.min_lr + (self.peak_lr - self.min_lr) * left
    }
}
