//! The simplest form, for reading: REINFORCE on whole completions, kept near the reference by a square.
//!
//! ```text
//! loss = −mean_i A_i log π(o_i) + β mean_i (log π(o_i) − log π_ref(o_i))²       log π(o_i) = Σ_t log π(o_it)
//! ```
//!
//! No ratio, no clipping, one number per completion. It points the right way. What the other files add is what this lacks:
//! tokens instead of sums (a sum's gradient, and still more the square of a sum, grows with the length), several steps
//! on what was drawn once, and a KL term whose size means something.

use candle_core::{Result, Tensor};

/// The loss of completions with these summed log-probabilities under the policy and the reference, `(B)` each, and
/// `advantages: (B)`.
///
/// # Errors
/// When shapes differ.
pub fn reinforce_with_squared_kl(
    log_probs: &Tensor,
    reference: &Tensor,
    advantages: &Tensor,
    beta: f64,
) -> Result<Tensor> {
    let policy = (advantages * log_probs)?.mean_all()?.neg()?;
    let kl = (log_probs - reference)?.sqr()?.mean_all()?;
    policy + (kl * beta)?
}
