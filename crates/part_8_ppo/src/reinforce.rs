//! 8.1 REINFORCE (Williams 1992, <https://doi.org/10.1007/BF00992696>): the policy gradient,
//! estimated from G sampled completions.
//!
//! ```text
//! loss = −1/G Σ_i (r_i − b_i) Σ_t log π(y_it | y_i,<t)          −∇loss estimates ∇E[r]
//! ```
//!
//! The baseline b_i may be subtracted because E[b ∇log π] = b Σ_y ∇π(y) = b ∇1 = 0: if b_i does not
//! depend on completion i, the mean of the estimate stays the same and only its variance changes.
//! Without a baseline, rewards of 3 and 4 both push their completion up, and only the difference of
//! the pushes is signal.
//!
//! ```text
//! constant         b_i = b                        unbiased, close to the best constant at b = E[r]
//! group mean       b_i = mean(r)                  contains r_i: (G − 1)/G of the gradient
//! leave-one-out    b_i = mean of the other r_j    unbiased (RLOO)
//! value            b_it = V(y_i,<t)               unbiased, one per token: the critic of 8.2
//! ```
//!
//! E[∇log π] = 0 also makes the gradient a covariance, Cov(r, ∇log π). Leave-one-out is the sample
//! covariance divided by G − 1, the group mean the one divided by G, and that is all they differ in
//! (Kool et al. 2019, <https://openreview.net/forum?id=r1lgTGL5DE>; Ahmadian et al.,
//! <https://arxiv.org/abs/2402.14740>).
//!
//! A batch serves for one step, because after it the samples are no longer the policy's. PPO's
//! ratio and clip (8.4) permit several. Part 9 returns to baselines of a group in its
//! `advantage.rs`; its `reinforce.rs` is this loss for summed log-probabilities, with a penalty
//! towards a reference.

use candle_core::{D, Result, Tensor, bail};
use tensor_core::Rng;

use crate::policy_gradient::gradient;
use crate::tabular_mdp::{log_probs, sample_completions};

/// Baseline that is subtracted from the rewards of G sampled completions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RewardBaseline {
    /// No baseline.
    None,
    /// A number that does not depend on these samples, such as the mean of all earlier rewards.
    Constant(f64),
    /// Mean of the group, the completion itself included.
    GroupMean,
    /// Mean of the other completions of the group; G must be at least 2.
    LeaveOneOut,
}

impl RewardBaseline {
    // ANCHOR: baseline
    /// Advantages r_i − b_i of B groups of completions with `rewards: (B, G)`: (B, G).
    ///
    /// # Errors
    /// When a single completion has no others to compare it with.
    pub fn advantages(self, rewards: &Tensor) -> Result<Tensor> {
        let (_b, g) = rewards.dims2()?;
        if self == Self::LeaveOneOut && g < 2 {
            bail!("leave-one-out needs at least 2 completions per group, got {g}");
        }
        let sum = rewards.sum_keepdim(D::Minus1)?; // (B, 1)
        match self {
            Self::None => Ok(rewards.clone()),
            Self::Constant(baseline) => rewards - baseline,
            Self::GroupMean => rewards.broadcast_sub(&(sum / g as f64)?),
            Self::LeaveOneOut => rewards - (sum.broadcast_sub(rewards)? / (g as f64 - 1.))?,
        }
    }
    // ANCHOR_END: baseline
}

// ANCHOR: loss
/// REINFORCE loss, (), of G completions from their `log_probs: (G, T)` under the policy. The
/// `advantages` are (G, T), or (G, 1) if all tokens of a completion share one.
///
/// # Errors
/// When the shapes do not fit.
pub fn reinforce_loss(log_probs: &Tensor, advantages: &Tensor) -> Result<Tensor> {
    let (g, _t) = log_probs.dims2()?;
    log_probs.broadcast_mul(advantages)?.sum_all()?.neg()? / g as f64
}
// ANCHOR_END: loss

/// Hyperparameters of [`train`].
#[derive(Debug, Clone, Copy)]
pub struct ReinforceConfig {
    /// Completions G per step.
    pub group_size: usize,
    /// Steps.
    pub steps: usize,
    /// Learning rate.
    pub lr: f64,
}

/// Policy, (N_STATES, VOCAB_SIZE), after gradient ascent with REINFORCE from `policy`: each step
/// samples G completions, which get `rewards: (Y)`, and follows the gradient of their loss.
///
/// # Errors
/// When memory is short.
pub fn train(
    policy: &Tensor,
    rewards: &Tensor,
    baseline: RewardBaseline,
    config: ReinforceConfig,
    rng: &mut Rng,
) -> Result<Tensor> {
    let mut policy = policy.clone();
    for _ in 0..config.steps {
        let completions = sample_completions(&policy, config.group_size, rng)?; // (G)
        let group_rewards = rewards.index_select(&completions, 0)?.unsqueeze(0)?; // (1, G)
        let advantages = baseline.advantages(&group_rewards)?.t()?; // (G, 1)
        let gradient = gradient(&policy, |policy| {
            let log_probs = log_probs(policy)?.index_select(&completions, 0)?; // (G, T)
            reinforce_loss(&log_probs, &advantages)
        })?;
        policy = (policy - (gradient * config.lr)?)?;
    }
    Ok(policy)
}
