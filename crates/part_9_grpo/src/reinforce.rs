//! 9.3 REINFORCE on whole completions with a squared penalty towards the reference: the simplest
//! form, for reading.
//!
//! ```text
//! loss = −mean_i A_i log π(o_i) + β mean_i (log π(o_i) − log π_ref(o_i))²
//! log π(o_i) = Σ_t log π(o_it)
//! ```
//!
//! It has no ratio, no clipping, and one number per completion, yet its gradient points in the
//! right direction. The other files add what it lacks: tokens instead of sums (the gradient of a
//! sum, and still more that of its square, grows with the length), several optimizer steps on one
//! batch of rollouts, and a KL term that estimates the KL.

use candle_core::{Result, Tensor};

/// Loss of completions: (), from their summed log-probabilities under the policy and the reference,
/// (B) each, and their `advantages: (B)`.
///
/// # Errors
/// When the shapes differ.
pub fn reinforce_with_squared_log_ratio(
    log_probs: &Tensor,
    ref_log_probs: &Tensor,
    advantages: &Tensor,
    kl_coef: f64,
) -> Result<Tensor> {
    let policy = (advantages * log_probs)?.mean_all()?.neg()?;
    let kl = (log_probs - ref_log_probs)?.sqr()?.mean_all()?;
    policy + (kl * kl_coef)?
}
