//! 9.4 KL terms of the loss: the divergence of the policy π from the reference π_ref, per token.
//!
//! ```text
//! k2     log_ratio² / 2                  its mean gradient is that of KL(π ‖ π_ref), while ρ = 1
//! k3     exp(log_ratio) − log_ratio − 1  never negative, its mean is the KL; as a loss, it has the
//!                                        gradient of another divergence, KL(π_ref ‖ π)
//! ρ k3   ρ = π / π_old                   weighted by ρ, its mean gradient is that of KL(π ‖ π_ref)
//!                                        (DeepSeek-V3.2, TRL)
//! ```
//!
//! The estimators are part 8's, with log_ratio = log π_ref − log π; what differs is that a loss
//! needs their gradient. k1 = −log_ratio is not offered: its mean gradient is 0, so as a loss it
//! only adds noise. Schulman, <http://joschu.net/blog/kl-approx.html>; the tests enumerate the
//! gradients.
//!
//! All this holds token by token, with the text before the token held fixed: the loss does not say
//! that a token changes which texts follow, whose KL may be larger. Only a penalty in the reward,
//! as in part 8, says so (Tang and Munos, <https://arxiv.org/abs/2506.09477>).

use candle_core::{Result, Tensor};
use ppo::kl::{KlEstimator, ratio};
use serde::Serialize;

/// KL estimator in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KlLoss {
    /// log_ratio² / 2
    K2,
    /// exp(log_ratio) − log_ratio − 1, as in GRPO's paper
    K3,
    /// k3 weighted by the ratio π / π_old
    #[default]
    K3Weighted,
}

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
        match self {
            Self::K2 => KlEstimator::K2.estimate(log_probs, ref_log_probs),
            Self::K3 => KlEstimator::K3.estimate(log_probs, ref_log_probs),
            Self::K3Weighted => {
                ratio(log_probs, old_log_probs)?
                    * KlEstimator::K3.estimate(log_probs, ref_log_probs)?
            }
        }
    }
}
