//! 9.3 The objective: what a step descends, from the log-probabilities of what was drawn. No value function anywhere.
//!
//! ```text
//! r     = π / π_old                              of each token
//! l     = −min(r A, clip(r, 1 − ε_low, 1 + ε_high) A) · min(π_old / π_behaviour, C) + β KL
//! loss  = Σ w l                                  the weights of aggregation.rs
//! ```
//!
//! The surrogate is part 8's. ε_high > ε_low leaves unlikely tokens room to grow (DAPO's clip-higher). π_behaviour is what the
//! tokens were drawn from, as the sampler noted it; π_old is the same as the loss computes it. They are one model, but two
//! programs (a cache, batches of another shape, quantized weights) round differently. Without a cap C, what the sampler
//! noted is taken for π_old, and all of the difference is in r.

use anyhow::{Context, Result};
use candle_core::Tensor;
use ppo::{Clip, clipped_surrogate};

use crate::Kl;

/// What a step descends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// How far the ratio may go before its gradient is cut.
    pub clip_range: Clip,
    /// How the distance to the reference is estimated, and β.
    pub kl: Option<(Kl, f64)>,
    /// C: the sampler's probabilities are corrected by at most this much; without it, they are taken for the policy's.
    pub importance_sampling_cap: Option<f64>,
}

/// What is known of what was drawn: by response (R, T), 0 where there is no token, or by token (N).
#[derive(Debug, Clone)]
pub struct LossInputs {
    /// Log-probabilities as the sampler noted them.
    pub behavior_log_probs: Tensor,
    /// The same as the loss computes them, before the first step on them; needed where there is a cap.
    pub old_log_probs: Option<Tensor>,
    /// Those under the reference; needed where there is a KL term.
    pub ref_log_probs: Option<Tensor>,
    /// The advantage of each token's completion.
    pub advantages: Tensor,
    /// Each token's weight in the loss; 0 where there is none.
    pub weights: Tensor,
}

impl Objective {
    /// The loss at each token, not yet weighed, from the policy's `log_probs`; of the shape of all of `drawn`.
    ///
    /// # Errors
    /// When shapes differ, or something is missing that is needed.
    pub fn per_token_loss(&self, log_probs: &Tensor, drawn: &LossInputs) -> Result<Tensor> {
        let behaviour = &drawn.behavior_log_probs;
        let old = match self.importance_sampling_cap {
            None => behaviour,
            Some(_) => drawn.old_log_probs.as_ref().context("a cap needs the old policy")?,
        };
        let mut loss = clipped_surrogate(log_probs, old, &drawn.advantages, self.clip_range)?;
        if let Some(cap) = self.importance_sampling_cap {
            loss = (loss * (old - behaviour)?.exp()?.minimum(cap)?)?;
        }
        if let Some((kl, beta)) = self.kl {
            let reference = drawn.ref_log_probs.as_ref().context("a KL term needs a reference")?;
            loss = (loss + (kl.per_token(log_probs, reference, old)? * beta)?)?;
        }
        Ok(loss)
    }

    /// Σ w l: ()
    ///
    /// # Errors
    /// As [`Objective::per_token`].
    pub fn loss(&self, log_probs: &Tensor, drawn: &LossInputs) -> Result<Tensor> {
        Ok((self.per_token_loss(log_probs, drawn)? * &drawn.weights)?.sum_all()?)
    }
}
