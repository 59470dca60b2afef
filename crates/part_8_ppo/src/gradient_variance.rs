//! 8.1 Bias and variance of gradient estimators, exactly: the estimates from all groups of
//! completions, with the probabilities of the groups.
//!
//! ```text
//! g        = 1/G Σ_i Σ_t A_it ∇log π(y_it | y_i,<t)       the estimate from one group
//! mean     = Σ_groups p g                                  bias = mean − ∇E[r]
//! variance = Σ_groups p |g − mean|²                        the trace of the covariance matrix
//! ```
//!
//! g is −∇loss of [`reinforce_loss`](crate::reinforce_loss). If the baseline does not depend on the
//! group, completions are independent, and G of them have 1/G of the variance of one. With
//! leave-one-out they are not: that estimate is the mean over all pairs of
//! `½ (r_i − r_j) (∇log π(y_i) − ∇log π(y_j))`, a U-statistic. Its variance follows from that of
//! one pair, Var₂, and from that of one completion with the mean reward as baseline, Var₁
//! (Hoeffding 1948, <https://doi.org/10.1214/aoms/1177730196>):
//!
//! ```text
//! variance = (2 Var₂ + (G − 2) Var₁) / (G (G − 1))         close to Var₁ / G for large groups
//! ```

use candle_core::{Device, Result, Tensor, bail};

use crate::policy_gradient::log_prob_gradients;
use crate::reinforce::RewardBaseline;
use crate::tabular_mdp::{
    N_COMPLETIONS, N_STATES, VOCAB_SIZE, completion_probs, expectation_over_completions, log_probs,
};

/// Mean and variance of a gradient estimator.
#[derive(Debug, Clone)]
pub struct GradientMoments {
    /// Mean: (N_STATES, VOCAB_SIZE). Its difference from the gradient is the bias.
    pub mean: Tensor,
    /// Trace of the covariance matrix.
    pub variance: f64,
}

impl GradientMoments {
    /// Moments of `gradients: (B, N_STATES, VOCAB_SIZE)` that have probabilities `probs: (B)`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(gradients: &Tensor, probs: &Tensor) -> Result<Self> {
        let (b, _s, _v) = gradients.dims3()?;
        let gradients = gradients.reshape((b, N_STATES * VOCAB_SIZE))?;
        let mean = probs.unsqueeze(0)?.matmul(&gradients)?; // (1, B) x (B, SV) -> (1, SV)
        let squared_deviations = gradients.broadcast_sub(&mean)?.sqr()?.sum(1)?; // (B)
        let variance = (squared_deviations * probs)?.sum_all()?.to_scalar()?;
        Ok(Self { mean: mean.reshape((N_STATES, VOCAB_SIZE))?, variance })
    }

    /// Moments of the mean of `n` independent estimates.
    pub fn of_mean(self, n: usize) -> Self {
        Self { variance: self.variance / n as f64, ..self }
    }
}

/// Moments of the estimate from one completion, Σ_t A_t ∇log π(y_t), for the `advantages: (Y, T)`,
/// or (Y, 1), of all completions.
///
/// # Errors
/// When memory is short.
pub fn moments_of_one_sample(policy: &Tensor, advantages: &Tensor) -> Result<GradientMoments> {
    let weights = advantages.unsqueeze(2)?.unsqueeze(3)?; // (Y, T, 1, 1) or (Y, 1, 1, 1)
    // (Y, T, N_STATES, VOCAB_SIZE) -> (Y, N_STATES, VOCAB_SIZE)
    let gradients = log_prob_gradients(policy)?.broadcast_mul(&weights)?.sum(1)?;
    GradientMoments::new(&gradients, &completion_probs(policy)?)
}

/// `x: (Y)` of both completions of all ordered pairs: (Y², 2).
///
/// # Errors
/// When memory is short.
pub fn of_all_pairs(x: &Tensor) -> Result<Tensor> {
    x.index_select(&all_pairs()?, 0)?.reshape((N_COMPLETIONS * N_COMPLETIONS, 2))
}

/// Indices of the completions of all ordered pairs, one pair after the other: (2 Y²).
fn all_pairs() -> Result<Tensor> {
    let n = N_COMPLETIONS as u32;
    let pairs = (0..n).flat_map(|i| (0..n).flat_map(move |j| [i, j]));
    Tensor::from_iter(pairs.collect::<Vec<u32>>(), &Device::Cpu)
}

/// Moments of the estimate from two completions, ½ (A_1 ∇log π(y_1) + A_2 ∇log π(y_2)), for the
/// `advantages: (Y², 2)` of all pairs, computed from the rewards [of all pairs](of_all_pairs).
///
/// # Errors
/// When memory is short.
pub fn moments_of_pairs(policy: &Tensor, advantages: &Tensor) -> Result<GradientMoments> {
    let (b, g) = advantages.dims2()?;
    let gradients = log_prob_gradients(policy)?.sum(1)?; // (Y, N_STATES, VOCAB_SIZE)
    let gradients =
        gradients.index_select(&all_pairs()?, 0)?.reshape((b, g, N_STATES, VOCAB_SIZE))?;
    let weights = (advantages / g as f64)?.reshape((b, g, 1, 1))?;
    let gradients = gradients.broadcast_mul(&weights)?.sum(1)?; // (Y², N_STATES, VOCAB_SIZE)
    let probs = of_all_pairs(&log_probs(policy)?.sum(1)?)?.sum(1)?.exp()?; // (Y²)
    GradientMoments::new(&gradients, &probs)
}

/// Moments of REINFORCE with `group_size` completions, which get `rewards: (Y)`.
///
/// # Errors
/// When a baseline of the group is asked of a single completion.
pub fn reinforce_moments(
    policy: &Tensor,
    rewards: &Tensor,
    baseline: RewardBaseline,
    group_size: usize,
) -> Result<GradientMoments> {
    let constant = match baseline {
        RewardBaseline::None => 0.,
        RewardBaseline::Constant(constant) => constant,
        RewardBaseline::LeaveOneOut => return leave_one_out_moments(policy, rewards, group_size),
        RewardBaseline::GroupMean => {
            // r_i − mean(r) is (G − 1)/G of r_i − mean of the others.
            let others = leave_one_out_moments(policy, rewards, group_size)?;
            let fraction = (group_size as f64 - 1.) / group_size as f64;
            let variance = others.variance * fraction * fraction;
            return Ok(GradientMoments { mean: (others.mean * fraction)?, variance });
        }
    };
    let advantages = (rewards.unsqueeze(1)? - constant)?; // (Y, 1)
    Ok(moments_of_one_sample(policy, &advantages)?.of_mean(group_size))
}

/// Moments of the leave-one-out estimate, by the formula above.
fn leave_one_out_moments(
    policy: &Tensor,
    rewards: &Tensor,
    group_size: usize,
) -> Result<GradientMoments> {
    if group_size < 2 {
        bail!("the baseline needs at least 2 completions per group, got {group_size}");
    }
    let advantages = RewardBaseline::LeaveOneOut.advantages(&of_all_pairs(rewards)?)?;
    let pair = moments_of_pairs(policy, &advantages)?;
    let mean_reward = expectation_over_completions(policy, rewards)?;
    let advantages = rewards.broadcast_sub(&mean_reward)?.unsqueeze(1)?; // (Y, 1)
    let sample = moments_of_one_sample(policy, &advantages)?;
    let g = group_size as f64;
    let variance = (2. * pair.variance + (g - 2.) * sample.variance) / (g * (g - 1.));
    Ok(GradientMoments { mean: pair.mean, variance })
}
