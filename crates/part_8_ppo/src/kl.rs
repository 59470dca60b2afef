//! 8.3 How far the policy π has moved from the reference π₀, estimated from the tokens that π drew
//! (Schulman, <http://joschu.net/blog/kl-approx.html>).
//!
//! ```text
//! d = log π(token) − log π₀(token)              KL(π ‖ π₀) = E d
//! k1 = d        unbiased, often negative, so noisy
//! |k1|          never negative, biased; a penalty, no estimate
//! k2 = d² / 2   biased, little noise; as a loss, its gradient is exactly that of the KL (on-policy)
//! k3 = e⁻ᵈ − 1 + d   unbiased, never negative
//! ```
//!
//! Here they are part of the reward and have no gradient. As losses they behave otherwise: `examples/estimator_lab.rs` counts
//! it out, and part 9 needs it.

use candle_core::{Result, Tensor};
use serde::Serialize;

/// e²⁰ is large enough for any ratio, and finite.
const MAX_LOG_RATIO: f64 = 20.;

/// Which estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KlEstimator {
    /// d
    #[default]
    K1,
    /// |d|
    AbsK1,
    /// d² / 2
    K2,
    /// e⁻ᵈ − 1 + d
    K3,
}

impl KlEstimator {
    /// Of the KL divergence from the distribution that gave drawn tokens `log_probs` to the one that gives them `reference`, token
    /// by token, in one shape.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn estimate(self, log_probs: &Tensor, reference: &Tensor) -> Result<Tensor> {
        let d = (log_probs - reference)?;
        match self {
            Self::K1 => Ok(d),
            Self::AbsK1 => d.abs(),
            Self::K2 => d.sqr()? / 2.,
            Self::K3 => (d.neg()?.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?.exp()? - 1.)? + d,
        }
    }
}

/// π(token) / π_old(token), of logarithms of one shape, bounded so that it stays finite.
pub fn ratio(log_probs: &Tensor, old: &Tensor) -> Result<Tensor> {
    (log_probs - old)?.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?.exp()
}

/// How much a nat of KL costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KlController {
    /// Always this.
    Fixed(f64),
    /// More while the KL of a response is above `target`, less below (Ziegler et al., <https://arxiv.org/abs/1909.08593>).
    Adaptive {
        /// The first price.
        init_kl_coef: f64,
        /// Wanted, in nats per response.
        target: f64,
        /// Responses in which the price adapts.
        horizon: f64,
    },
}

impl KlController {
    /// The price at first.
    pub fn init_kl_coef(self) -> f64 {
        match self {
            Self::Fixed(price) | Self::Adaptive { init_kl_coef: price, .. } => price,
        }
    }

    /// The price after `n` responses, of which each was `kl` nats away on average, that cost `price`.
    pub fn next_kl_coef(self, price: f64, kl: f64, n: usize) -> f64 {
        match self {
            Self::Fixed(_) => price,
            Self::Adaptive { target, horizon, .. } => {
                let error = (kl / target - 1.).clamp(-0.2, 0.2);
                price * (1. + error * (n as f64 / horizon).min(1.)) // never below 0: nobody is paid for KL
            }
        }
    }
}
