//! 4.3 Learning-rate schedule: warm-up from 0 while Adam's moment estimates are still noisy, then
//! decay, so that the last steps converge.
//!
//! ```text
//! warm-up   lr(n) = peak · n / warmup                                          for n ≤ warmup
//! cosine    lr(n) = min + (peak − min) · ½ (1 + cos(π (n − warmup) / (total − warmup)))
//! WSD       lr(n) = peak, then linear to min over the last fifth of the steps
//!           (warmup-stable-decay)
//! linear    lr(n) = peak − (peak − min) · (n − warmup) / (total − warmup)
//! constant  lr(n) = peak
//! ```
//!
//! n counts optimizer steps from 1 and the rate is set before the step. The first step has lr(1) =
//! peak / warmup. With cosine, linear and WSD (from five steps on, so that there is a last fifth)
//! the last has lr(total) = min, and the rate stays there. Cosine:
//! Loshchilov and Hutter, <https://arxiv.org/abs/1608.03983>; WSD: Hu et al.,
//! <https://arxiv.org/abs/2404.06395>.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Shape of the decay after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum DecayShape {
    /// Half a cosine, from the end of the warm-up to the last step
    #[value(alias = "cosine_with_min_lr")]
    Cosine,
    /// Constant until the last fifth of the steps, then linear decay (WSD)
    #[value(aliases = ["wsd", "stable"])]
    #[serde(alias = "stable")]
    WarmupStableDecay,
    /// Linear, from the end of the warm-up to the last step
    Linear,
    /// Constant, without decay
    #[value(alias = "constant_with_warmup")]
    Constant,
}

/// Learning-rate schedule. It is a pure function of the step, so a resumed run needs only its
/// settings and the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LrSchedule {
    /// Peak learning rate.
    #[serde(alias = "peak")]
    pub peak_lr: f64,
    /// Learning rate of the last step and of all steps after it.
    #[serde(alias = "floor")]
    pub min_lr: f64,
    /// Number of warm-up steps.
    #[serde(alias = "warmup")]
    pub warmup_steps: usize,
    /// Total number of steps.
    #[serde(alias = "total")]
    pub total_steps: usize,
    /// Shape of the decay.
    pub decay: DecayShape,
}

impl LrSchedule {
    /// Standard schedule: warm-up over a twentieth of the steps, then half a cosine down to a tenth
    /// of the peak.
    pub fn cosine(peak_lr: f64, total_steps: usize) -> Self {
        Self {
            peak_lr,
            min_lr: peak_lr / 10.,
            warmup_steps: total_steps / 20,
            total_steps,
            decay: DecayShape::Cosine,
        }
    }

    // ANCHOR: lr_at
    /// Learning rate of optimizer step `n`, counted from 1.
    pub fn lr_at(&self, n: usize) -> f64 {
        let warmup = self.warmup_steps.max(1);
        if n <= warmup {
            return self.peak_lr * n as f64 / warmup as f64;
        }
        // Fraction of the steps from `start` to the last that are done at step n.
        let progress = |start: usize| {
            let steps = self.total_steps.saturating_sub(start).max(1);
            (n.saturating_sub(start) as f64 / steps as f64).min(1.)
        };
        let remaining = match self.decay {
            DecayShape::Cosine => 0.5 * (1. + (PI * progress(warmup)).cos()),
            DecayShape::WarmupStableDecay => 1. - progress(self.total_steps - self.total_steps / 5),
            DecayShape::Linear => 1. - progress(warmup),
            DecayShape::Constant => 1.,
        };
        self.min_lr + (self.peak_lr - self.min_lr) * remaining
    }
    // ANCHOR_END: lr_at
}
