//! 9.3 REINFORCE on whole completions: a completion is one action, with one log-probability.
//!
//! ```text
//! loss = Σ_i w_i [ −A_i log π(o_i) + β (log π(o_i) − log π_ref(o_i))² ]
//! log π(o_i) = Σ_t log π(o_it)        w_i = 1/B by default: the mean over B completions
//! ```
//!
//! It has no ratio and no clipping, so it allows one optimizer step per rollout, yet its gradient
//! points in the right direction. The other files add what it lacks: tokens instead of sums (the
//! gradient of a sum, and still more that of its square, grows with the length), several optimizer
//! steps on one batch of rollouts, and a KL term that estimates the KL.

use candle_core::{Result, Tensor};

/// Loss of R completions: (), from their summed log-probabilities under the policy, their
/// `advantages` and their weights, (R) each. With `reference`, the summed log-probabilities under
/// the reference model, (R), and the coefficient β of the squared log-ratio.
///
/// # Errors
/// When the shapes differ.
pub fn sequence_loss(
    log_probs: &Tensor,
    advantages: &Tensor,
    weights: &Tensor,
    reference: Option<(&Tensor, f64)>,
) -> Result<Tensor> {
    let mut loss = (advantages * log_probs)?.neg()?; // (R)
    if let Some((ref_log_probs, kl_coef)) = reference {
        loss = (loss + ((log_probs - ref_log_probs)?.sqr()? * kl_coef)?)?;
    }
    (loss * weights)?.sum_all()
}
