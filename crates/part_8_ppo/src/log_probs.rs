//! 8.3 Log-probabilities of sampled completions under the distribution that they were sampled from.
//!
//! ```text
//! log π(token) = log softmax(x / T)[token],   logits x = −∞ for tokens that a filter excluded
//! ```
//!
//! A sampling filter (top-k, top-p) is part of the policy's distribution. Without it the first
//! ratio would differ from 1; recomputed from today's logits it could exclude a token that was
//! sampled. So the set of allowed tokens is recorded at sampling time and used again.
//!
//! The filter does not belong to the reference's distribution. If the nucleus of a collapsing
//! policy shrinks to one token, a reference restricted to that token gives it probability 1 as
//! well, and the KL reads 0 where it is largest.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::GptModern;
use tensor_core::ops::{entropy, token_log_probs};

use crate::rollout_group::{RolloutGroup, longest_completion};
use crate::token_batch::TokenBatch;

/// Log-probabilities and entropies of a batch, 0 at padding.
#[derive(Debug)]
pub struct LogProbsAndEntropy {
    /// log π of each token: (R, T).
    pub log_probs: Tensor,
    /// Entropy of the distribution at each token, in nats: (R, T).
    pub entropy: Tensor,
}

/// Log-probabilities and entropies of `batch` under `model` at `temperature`, from the model's
/// `hidden: (B · S, C)` states ([`TokenBatch::hidden`]); differentiable.
///
/// # Errors
/// When the batch does not fit the model.
pub fn log_probs_and_entropy(
    model: &GptModern,
    batch: &TokenBatch,
    hidden: &Tensor,
    temperature: f64,
) -> Result<LogProbsAndEntropy> {
    let logits = allowed(logits(model, batch, hidden, temperature)?, batch)?; // (N, V)
    let log_probs = token_log_probs(&logits, &batch.targets)?;
    Ok(LogProbsAndEntropy {
        log_probs: batch.to_padded(&log_probs)?,
        entropy: batch.to_padded(&entropy(&logits)?)?,
    })
}

/// Log-probabilities of `batch` under the policy `model`: (R, T), 0 at padding.
///
/// # Errors
/// As [`log_probs_and_entropy`].
pub fn log_probs(model: &GptModern, batch: &TokenBatch, temperature: f64) -> Result<Tensor> {
    let logits = logits(model, batch, &batch.hidden(model)?, temperature)?;
    batch.to_padded(&token_log_probs(&allowed(logits, batch)?, &batch.targets)?)
}

/// Log-probabilities of `batch` under the model `reference` without the sampling filters: (R, T), 0
/// at padding.
///
/// # Errors
/// As [`log_probs_and_entropy`].
pub fn ref_log_probs(
    reference: &GptModern,
    batch: &TokenBatch,
    temperature: f64,
) -> Result<Tensor> {
    let logits = logits(reference, batch, &batch.hidden(reference)?, temperature)?;
    batch.to_padded(&token_log_probs(&logits, &batch.targets)?)
}

/// [`ref_log_probs`] of all completions of `groups`, `n_groups` groups at a time: (R, T).
///
/// # Errors
/// When a group is longer than the model's context.
pub fn ref_log_probs_of_groups(
    reference: &GptModern,
    groups: &[RolloutGroup],
    temperature: f64,
    n_groups: usize,
) -> Result<Tensor> {
    let (t, mut rows) = (longest_completion(groups), Vec::new());
    for groups in groups.chunks(n_groups) {
        // The reference may have another sliding window than the policy.
        let batch = TokenBatch::from_groups(groups, reference.config(), reference.device())?;
        let log_probs = ref_log_probs(reference, &batch, temperature)?; // (R, T) of these groups
        let (_r, longest) = log_probs.dims2()?;
        rows.push(log_probs.pad_with_zeros(1, 0, t - longest)?);
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// Logits x / T at the N positions that predict tokens: (N, V), in f32.
///
/// # Errors
/// As [`log_probs_and_entropy`].
pub fn logits(
    model: &GptModern,
    batch: &TokenBatch,
    hidden: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    let logits = model.logits(&batch.at_predicting_positions(hidden)?)?.to_dtype(DType::F32)?;
    if temperature == 1. { Ok(logits) } else { Ok((logits / temperature)?) }
}

/// `logits: (N, V)` of the policy with −∞ for tokens that a sampling filter excluded.
fn allowed(logits: Tensor, batch: &TokenBatch) -> Result<Tensor> {
    let (_n, v) = logits.dims2()?;
    match batch.allowed_tokens_mask(v)? {
        Some(mask) => Ok((logits + mask)?),
        None => Ok(logits),
    }
}
