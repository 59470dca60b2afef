//! 9.4 How far the policy is from the reference, token by token, as a part of the loss.
//!
//! ```text
//! d   = log π_ref − log π,   r = π / π_behaviour
//! k2  = d² / 2               its gradient is that of KL(π ‖ π_ref) on average, when r = 1
//! k3  = exp(d) − d − 1       never negative, its mean is the KL; as a loss its gradient is that of another divergence
//! r k3                       weighed by the ratio, whose gradient makes it right again (DeepSeek-V3.2, TRL)
//! ```
//!
//! k1 = −d is not offered: the mean of its gradient is 0, so as a loss it does nothing but add noise (the mistake that the
//! original of this part makes). Schulman, <http://joschu.net/blog/kl-approx.html>; the gradients are enumerated in the tests.

use candle_core::{Result, Tensor};
use serde::Serialize;

/// Which estimator is in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kl {
    /// d² / 2
    K2,
    /// exp(d) − d − 1, as GRPO's paper has it
    K3,
    /// k3 weighed by the ratio of policy and behaviour
    K3Weighted,
}

/// Largest |d|: exp of more says nothing that a step could follow.
const MAX_LOG_RATIO: f64 = 20.;

impl Kl {
    /// Of each token: `(N)`, from log-probabilities under the policy, the reference and the behaviour, `(N)` each.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn per_token(
        self,
        log_probs: &Tensor,
        reference: &Tensor,
        behaviour: &Tensor,
    ) -> Result<Tensor> {
        let d = (reference - log_probs)?.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?; // (N)
        let k3 = || (d.exp()? - &d)? - 1.;
        match self {
            Self::K2 => d.sqr()? / 2.,
            Self::K3 => k3(),
            Self::K3Weighted => {
                (log_probs - behaviour)?.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)?.exp()? * k3()?
            }
        }
    }
}
