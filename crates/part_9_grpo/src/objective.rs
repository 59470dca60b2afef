//! 9.3 GRPO objective: the loss of a step, from the log-probabilities of the sampled tokens. It has
//! no value function.
//!
//! ```text
//! ρ     = π / π_old                              per token
//! l     = −min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A) · min(π_old / π_behavior, C) + β KL
//! loss  = Σ w l                                  weights w from aggregation.rs
//! ```
//!
//! The clipped surrogate is part 8's; REINFORCE and RLOO have −ρ A in its place. ε_high > ε_low
//! lets unlikely tokens grow (DAPO's clip-higher). π_behavior is the policy that the tokens were
//! sampled from, with the probabilities that the sampler recorded; π_old is the same policy with
//! the probabilities that the loss computes. They differ by rounding, because sampler and loss run
//! different computations (a cache, other batch shapes, quantized weights). Without a cap C, π_old
//! is the sampler's, and the whole difference is in ρ.

use anyhow::{Context, Result};
use candle_core::Tensor;
use ppo::kl::ratio;
use ppo::{Clip, clipped_surrogate};
use serde::Serialize;

use crate::kl::KlLoss;
use crate::reinforce::sequence_loss;

/// Action that the loss is computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossLevel {
    /// A token: −min(ρ A, clip(ρ) A) + β KL
    Token,
    /// A whole completion: −A Σ log π + β (Σ log π − Σ log π_ref)², without ratio and clipping
    Sequence,
}

/// Loss of a step: clip range, KL term, importance sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Loss per token or per completion. A loss per completion has no ratio, so it uses neither the
    /// clip range nor the cap, and the squared log-ratio is its KL term, with the coefficient of
    /// `kl`.
    pub level: LossLevel,
    /// Clip range of the ratio; `None` without clipping.
    pub clip_range: Option<Clip>,
    /// KL estimator and its coefficient β.
    pub kl: Option<(KlLoss, f64)>,
    /// Cap C on π_old / π_behavior (truncated importance sampling). `None`: the sampler's
    /// log-probabilities are used as those of π_old.
    pub importance_sampling_cap: Option<f64>,
}

/// Inputs of the loss beside the policy's log-probabilities: by completion (R, T), padded with 0,
/// or, for a loss per token, by token (N).
#[derive(Debug, Clone)]
pub struct LossInputs {
    /// Log-probabilities recorded by the sampler.
    pub behavior_log_probs: Tensor,
    /// Log-probabilities under the policy before the first optimizer step; required with a cap.
    pub old_log_probs: Option<Tensor>,
    /// Log-probabilities under the reference model; required with a KL term.
    pub ref_log_probs: Option<Tensor>,
    /// Advantage of each token's completion.
    pub advantages: Tensor,
    /// Weight of each token in the loss; 0 at padding.
    pub weights: Tensor,
}

impl Objective {
    /// Loss of a batch, (), from the policy's `log_probs`.
    ///
    /// # Errors
    /// When the shapes differ, or a required input is missing.
    pub fn loss(&self, log_probs: &Tensor, inputs: &LossInputs) -> Result<Tensor> {
        match self.level {
            LossLevel::Token => {
                Ok((self.per_token_loss(log_probs, inputs)? * &inputs.weights)?.sum_all()?)
            }
            LossLevel::Sequence => self.loss_of_sequences(log_probs, inputs),
        }
    }

    /// Loss per token before weighting, from the policy's `log_probs`; all of one shape.
    ///
    /// # Errors
    /// Those of [`Objective::loss`].
    pub fn per_token_loss(&self, log_probs: &Tensor, inputs: &LossInputs) -> Result<Tensor> {
        let (behavior, advantages) = (&inputs.behavior_log_probs, &inputs.advantages);
        let old = match self.importance_sampling_cap {
            None => behavior,
            Some(_) => inputs.old_log_probs.as_ref().context("a cap needs old_log_probs")?,
        };
        let mut loss = match self.clip_range {
            Some(clip_range) => clipped_surrogate(log_probs, old, advantages, clip_range)?,
            None => (ratio(log_probs, old)? * advantages)?.neg()?,
        };
        if let Some(cap) = self.importance_sampling_cap {
            loss = (loss * (old - behavior)?.exp()?.minimum(cap)?)?;
        }
        if let Some((kl, kl_coef)) = self.kl {
            let reference = inputs.ref_log_probs()?;
            loss = (loss + (kl.per_token(log_probs, reference, old)? * kl_coef)?)?;
        }
        Ok(loss)
    }

    /// Loss of whole completions, from the policy's `log_probs: (R, T)`. Every token of a
    /// completion has its advantage and its weight.
    fn loss_of_sequences(&self, log_probs: &Tensor, inputs: &LossInputs) -> Result<Tensor> {
        let of_completions = |x: &Tensor| x.narrow(1, 0, 1)?.squeeze(1); // (R, T) -> (R)
        let (advantages, weights) =
            (of_completions(&inputs.advantages)?, of_completions(&inputs.weights)?);
        let log_probs = log_probs.sum(1)?; // (R)
        let Some((_, kl_coef)) = self.kl else {
            return Ok(sequence_loss(&log_probs, &advantages, &weights, None)?);
        };
        let reference = inputs.ref_log_probs()?.sum(1)?; // (R)
        Ok(sequence_loss(&log_probs, &advantages, &weights, Some((&reference, kl_coef)))?)
    }
}

impl LossInputs {
    fn ref_log_probs(&self) -> Result<&Tensor> {
        self.ref_log_probs.as_ref().context("a KL term needs ref_log_probs")
    }
}
