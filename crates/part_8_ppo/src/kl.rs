//! 8.4 KL estimators: the divergence of the policy π from the reference π_ref, estimated from
//! tokens sampled from π (Schulman, <http://joschu.net/blog/kl-approx.html>).
//!
//! ```text
//! log_ratio = log π_ref(token) − log π(token)          KL(π ‖ π_ref) = −E log_ratio
//! k1   = −log_ratio                     unbiased, often negative, so noisy
//! |k1|                                  never negative, biased; a penalty rather than an estimate
//! k2   = log_ratio² / 2                 biased, little noise; as a loss, on-policy, its gradient
//!                                       is that of the KL
//! k3   = exp(log_ratio) − log_ratio − 1 unbiased, never negative
//! ```
//!
//! k2 and k3 clamp the log-ratio, so both are finite. Here the estimate is part of the reward and
//! has no gradient. Part 9 uses the same estimators in its loss, where they behave otherwise, as
//! `examples/estimator_lab.rs` enumerates.

use candle_core::{Result, Tensor};
use serde::Serialize;

/// Largest |log-ratio|: e²⁰ exceeds any useful ratio and is finite.
const MAX_LOG_RATIO: f64 = 20.;

/// KL estimator, named as in Schulman's note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KlEstimator {
    /// −log_ratio
    #[default]
    K1,
    /// |log_ratio|
    AbsK1,
    /// log_ratio² / 2
    K2,
    /// exp(log_ratio) − log_ratio − 1
    K3,
}

impl KlEstimator {
    // ANCHOR: estimate
    /// KL(π ‖ π_ref) estimated token by token, from `log_probs` under the sampling policy π and
    /// `ref_log_probs` under the reference, both of one shape, which is that of the result.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn estimate(self, log_probs: &Tensor, ref_log_probs: &Tensor) -> Result<Tensor> {
        let log_ratio = (ref_log_probs - log_probs)?;
        let clamped = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?;
        match self {
            Self::K1 => log_ratio.neg(),
            Self::AbsK1 => log_ratio.abs(),
            Self::K2 => clamped.sqr()? / 2.,
            Self::K3 => (clamped.exp()? - &clamped)? - 1.,
        }
    }
    // ANCHOR_END: estimate
}

/// Probability ratio π(token) / π_old(token) from log-probabilities of one shape; the exponent is
/// clamped, so the result is finite.
pub fn ratio(log_probs: &Tensor, old: &Tensor) -> Result<Tensor> {
    (log_probs - old)?.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?.exp()
}

/// KL coefficient over a run: fixed, or adapted to a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KlController {
    /// Fixed coefficient.
    Fixed(f64),
    /// Coefficient that rises while the KL is above `target` and falls below it
    /// (Ziegler et al., <https://arxiv.org/abs/1909.08593>).
    Adaptive {
        /// Coefficient of the first step.
        init_kl_coef: f64,
        /// Target KL, in nats per completion.
        target: f64,
        /// Number of completions over which the coefficient adapts.
        horizon: f64,
    },
}

impl KlController {
    /// Coefficient of the first step.
    pub fn init_kl_coef(self) -> f64 {
        match self {
            Self::Fixed(kl_coef) | Self::Adaptive { init_kl_coef: kl_coef, .. } => kl_coef,
        }
    }

    /// Coefficient after a step with `kl_coef` on `n` completions whose mean KL was `kl` nats.
    pub fn next_kl_coef(self, kl_coef: f64, kl: f64, n: usize) -> f64 {
        match self {
            Self::Fixed(_) => kl_coef,
            Self::Adaptive { target, horizon, .. } => {
                let error = (kl / target - 1.).clamp(-0.2, 0.2);
                // Stays above 0, so KL is never rewarded.
                kl_coef * (1. + error * (n as f64 / horizon).min(1.))
            }
        }
    }
}
