//! 10.1 From the reward model to DPO (Rafailov et al., <https://arxiv.org/abs/2305.18290>): a policy
//! is a reward model in disguise.
//!
//! ```text
//! part 8 maximizes        E_{y ~ π}[ r(y) ] − β KL(π ‖ π_ref)
//! whose maximum is        π*(y) = π_ref(y) exp(r(y)/β) / Z,     Z = Σ_y π_ref(y) exp(r(y)/β)
//! solved for the reward   r(y) = β log(π*(y)/π_ref(y)) + β log Z
//! in Bradley-Terry        p(y⁺ ≻ y⁻) = σ(r(y⁺) − r(y⁻))         β log Z cancels
//! ```
//!
//! Z is a sum over all completions of a prompt, which nobody can compute. It is the same for both
//! completions of a pair, so their difference does not need it. Part 7's loss on the implicit
//! reward β log(π/π_ref) therefore trains the policy itself: no reward model, and nothing is
//! sampled.

use candle_core::{D, Result, Tensor};
use tensor_core::ops::log_softmax;

/// Log-probabilities of the policy that maximizes E r − β KL(π ‖ π_ref), log π_ref + r/β − log Z,
/// from those of the reference and the rewards of *all* completions: (Y), (Y) -> (Y).
///
/// # Errors
/// When the shapes differ.
pub fn optimal_log_probs(ref_log_probs: &Tensor, rewards: &Tensor, beta: f64) -> Result<Tensor> {
    log_softmax(&(ref_log_probs + (rewards / beta)?)?) // the softmax divides by Z
}

// ANCHOR: implicit_reward
/// Implicit reward of each completion, β (log π − log π_ref): (R), (R) -> (R). It is the reward
/// that the policy is optimal for, up to a constant that the completions of a prompt share.
///
/// # Errors
/// When the shapes differ.
pub fn implicit_reward(log_probs: &Tensor, ref_log_probs: &Tensor, beta: f64) -> Result<Tensor> {
    (log_probs - ref_log_probs)? * beta
}
// ANCHOR_END: implicit_reward

/// Differences x_i − x_j of all pairs, as a matrix: (Y) -> (Y, Y).
///
/// # Errors
/// When memory is short.
pub fn pairwise_differences(x: &Tensor) -> Result<Tensor> {
    x.unsqueeze(D::Minus1)?.broadcast_sub(&x.unsqueeze(0)?)
}
