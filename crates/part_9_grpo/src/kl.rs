//! 9.4 KL terms of the loss: the divergence of the policy π from the reference π_ref, per token.
//!
//! ```text
//! log_ratio = log π_ref − log π          ρ = π / π_old
//! k2   = log_ratio² / 2                  its mean gradient is that of KL(π ‖ π_ref) while ρ = 1
//! k3   = exp(log_ratio) − log_ratio − 1  never negative, its mean is the KL; as a loss, it has the
//!                                        gradient of another divergence, KL(π_ref ‖ π)
//! ρ k3                                   weighted by ρ, its mean gradient is that of KL(π ‖ π_ref)
//!                                        (DeepSeek-V3.2, TRL)
//! ```
//!
//! The sign of the log-ratio is that of part 8's `kl.rs`. k1 = −log_ratio is not offered: its mean
//! gradient is 0, so as a loss it only adds noise. Schulman,
//! <http://joschu.net/blog/kl-approx.html>; the tests enumerate the gradients.

use candle_core::{Result, Tensor};
use serde::Serialize;

/// KL estimator in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KlLoss {
    /// log_ratio² / 2
    K2,
    /// exp(log_ratio) − log_ratio − 1, as in GRPO's paper
    K3,
    /// k3 weighted by the ratio π / π_old
    K3Weighted,
}

/// Largest |log-ratio|: e²⁰ exceeds any useful ratio and is finite.
const MAX_LOG_RATIO: f64 = 20.;

impl KlLoss {
    /// KL term of each token, from log-probabilities under the policy, the reference and the
    /// old policy, all of one shape, which is that of the result.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn per_token(
        self,
        log_probs: &Tensor,
        ref_log_probs: &Tensor,
        old_log_probs: &Tensor,
    ) -> Result<Tensor> {
        let log_ratio = (ref_log_probs - log_probs)?.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?;
        let k3 = || (log_ratio.exp()? - &log_ratio)? - 1.;
        match self {
            Self::K2 => log_ratio.sqr()? / 2.,
            Self::K3 => k3(),
            Self::K3Weighted => {
                let old_log_ratio = (log_probs - old_log_probs)?;
                old_log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?.exp()? * k3()?
            }
        }
    }
}
