//! 8.4 Per-token rewards: the KL penalty at every token, and the completion's reward at its last
//! token.
//!
//! ```text
//! r_t = −β · kl_t  +  terminal reward if t is the last token of the completion
//! ```
//!
//! The last token, which is the stop token of a terminated completion, is found by the length of
//! the completion; a common mistake is to take the first padding token after it.

use candle_core::{D, DType, Device, Result, Tensor};
use modern::FinishReason;

use crate::gae::GaeConfig;
use crate::kl::KlEstimator;
use crate::masked::masked;
use crate::rollout_group::RolloutGroup;

/// Settings from rewards to advantages.
#[derive(Debug, Clone, Copy)]
pub struct RewardShapingConfig {
    /// Discount factor γ and GAE λ.
    pub gae: GaeConfig,
    /// KL estimator of the penalty.
    pub kl_estimator: KlEstimator,
    /// Bound on the absolute value of a completion's reward.
    pub reward_clip: Option<f64>,
    /// Treatment of truncated completions.
    pub truncation: TruncationHandling,
    /// Penalty subtracted from the reward of a truncated completion with
    /// [`TruncationHandling::Terminal`].
    pub missing_eos_penalty: f64,
    /// Scaling of per-token rewards.
    pub reward_scaling: RewardScaling,
}

/// Treatment of truncated completions. They get the reward function's reward less a penalty, or the
/// critic's bootstrap value, never both: with a reward and the bootstrap, running on would pay more
/// than any answer; with a penalty and the bootstrap, the value of running on obeys V = −1 + V and
/// falls without bound, because each cut subtracts the penalty again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TruncationHandling {
    /// The reward function's reward less the penalty, and nothing after it
    #[default]
    #[value(alias = "scored")]
    Terminal,
    /// No reward and no penalty: the critic's value at the cut stands for the rest
    #[value(alias = "bootstrapped")]
    Bootstrap,
}

/// Scaling of per-token rewards before advantages are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RewardScaling {
    /// No scaling
    #[default]
    #[value(alias = "as-they-are")]
    None,
    /// Variance 1, mean unchanged (whitening)
    #[value(alias = "whitened")]
    Whiten,
}

impl RewardShapingConfig {
    /// Reward at the last token of a completion that ended for `finish_reason`, whose reward
    /// function's `reward` is given.
    pub fn terminal_reward(&self, reward: f64, finish_reason: FinishReason) -> f64 {
        let reward = clip_reward(reward, self.reward_clip);
        match (finish_reason, self.truncation) {
            (FinishReason::Stop, _) => reward,
            (_, TruncationHandling::Terminal) => reward - self.missing_eos_penalty,
            (_, TruncationHandling::Bootstrap) => 0.,
        }
    }
}

/// Terminal rewards of the completions of `groups`, whose `rewards` are given: (R).
///
/// # Errors
/// When memory is short.
pub fn terminal_rewards(
    rewards: &[f64],
    groups: &[RolloutGroup],
    config: &RewardShapingConfig,
    device: &Device,
) -> Result<Tensor> {
    let completions = groups.iter().flat_map(|group| &group.completions);
    let terminal = rewards.iter().zip(completions).map(|(&reward, completion)| {
        config.terminal_reward(reward, completion.finish_reason) as f32
    });
    Tensor::from_iter(terminal, device)
}

// ANCHOR: token_rewards
/// Per-token rewards, (R, T): `terminal: (R)` at the last token of each row of `mask: (R, T)`,
/// minus `kl_coef` times `kl: (R, T)`. A row without tokens is 0.
///
/// # Errors
/// When the shapes do not fit.
pub fn token_rewards(
    terminal: &Tensor,
    kl: &Tensor,
    kl_coef: f64,
    mask: &Tensor,
) -> Result<Tensor> {
    let last = last_token_mask(mask)?.to_dtype(kl.dtype())?; // (R, T)
    let terminal = last.broadcast_mul(&terminal.unsqueeze(1)?)?;
    masked(&(terminal - (kl * kl_coef)?)?, mask)
}
// ANCHOR_END: token_rewards

/// Mask with 1 at the last token of each row of `mask: (R, T)`, whose rows are filled from the
/// left.
fn last_token_mask(mask: &Tensor) -> Result<Tensor> {
    let (_r, t) = mask.dims2()?;
    let lengths = mask.ne(0.)?.to_dtype(DType::I64)?.sum_keepdim(D::Minus1)?; // (R, 1)
    let positions = Tensor::arange(1i64, t as i64 + 1, mask.device())?.unsqueeze(0)?; // (1, T)
    positions.broadcast_eq(&lengths)
}

/// Reward clipped to [−`bound`, `bound`], if there is a bound.
pub fn clip_reward(reward: f64, bound: Option<f64>) -> f64 {
    bound.map_or(reward, |bound| reward.clamp(-bound, bound))
}
