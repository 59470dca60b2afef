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

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use modern::GptModern;
use ranks::Ranks;
use tensor_core::ops::{entropy, token_log_probs};

use crate::rollout_group::{AllowedTokens, RolloutGroup, longest_completion};
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
/// `hidden: (B · S, C)` states ([`TokenBatch::hidden`]); differentiable. The logits (N, V) are
/// computed for some of the N tokens at a time.
///
/// # Errors
/// When the batch does not fit the model.
pub fn log_probs_and_entropy(
    model: &GptModern,
    batch: &TokenBatch,
    hidden: &Tensor,
    temperature: f64,
) -> Result<LogProbsAndEntropy> {
    let (targets, allowed) = (batch.targets.clone(), batch.allowed_tokens());
    let hidden = batch.at_predicting_positions(hidden)?; // (N, C)
    let all = model.map_logits(&hidden, move |rows, logits| {
        let targets = targets.narrow(0, rows.start, rows.len())?;
        let logits = filtered(&at_temperature(logits, temperature)?, &allowed, rows)?; // (n, V)
        Ok(vec![token_log_probs(&logits, &targets)?, entropy(&logits)?])
    })?;
    Ok(LogProbsAndEntropy {
        log_probs: batch.to_padded(&all[0])?,
        entropy: batch.to_padded(&all[1])?,
    })
}

/// Log-probabilities of `batch` under the policy `model`: (R, T), 0 at padding.
///
/// # Errors
/// As [`log_probs_and_entropy`].
pub fn log_probs(model: &GptModern, batch: &TokenBatch, temperature: f64) -> Result<Tensor> {
    let allowed = batch.allowed_tokens();
    log_probs_of_logits(model, batch, move |rows, logits| {
        filtered(&at_temperature(logits, temperature)?, &allowed, rows)
    })
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
    log_probs_of_logits(reference, batch, move |_, logits| at_temperature(logits, temperature))
}

/// Log-probabilities of `batch`, (R, T), by what `adjusted` makes of the logits of `model` at each
/// range of positions: (n, V) -> (n, V).
fn log_probs_of_logits(
    model: &GptModern,
    batch: &TokenBatch,
    adjusted: impl Fn(Range<usize>, &Tensor) -> candle_core::Result<Tensor> + Send + 'static,
) -> Result<Tensor> {
    let targets = batch.targets.clone();
    let hidden = batch.at_predicting_positions(&batch.hidden(model)?)?; // (N, C)
    let log_probs = model.map_logits(&hidden, move |rows, logits| {
        let targets = targets.narrow(0, rows.start, rows.len())?;
        Ok(vec![token_log_probs(&adjusted(rows, logits)?, &targets)?])
    })?;
    batch.to_padded(&log_probs[0])
}

/// [`ref_log_probs`] of all completions of `groups`, `n_groups` groups at a time: (R, T). Each of
/// the `ranks` computes those of its share.
///
/// # Errors
/// When a group is longer than the model's context, or another rank has ended.
pub fn ref_log_probs_of_groups(
    reference: &GptModern,
    groups: &[RolloutGroup],
    temperature: f64,
    n_groups: usize,
    ranks: &Ranks,
) -> Result<Tensor> {
    let (t, mut rows) = (longest_completion(groups), Vec::new());
    for groups in groups[ranks.rows(groups.len())].chunks(n_groups) {
        // The reference may have another sliding window than the policy.
        let batch = TokenBatch::from_groups(groups, reference.config(), reference.device())?;
        let log_probs = ref_log_probs(reference, &batch, temperature)?; // (R, T) of these groups
        let (_r, longest) = log_probs.dims2()?;
        rows.push(log_probs.pad_with_zeros(1, 0, t - longest)?);
    }
    ranks.concat(&rows, reference.device())
}

/// Hidden states of `model` that predict the tokens of the completions of `groups`: (N, C).
///
/// # Errors
/// When a group is longer than the model's context.
pub fn hidden_of_groups(model: &GptModern, groups: &[RolloutGroup]) -> Result<Tensor> {
    // A batch for each model, because their sliding windows may differ.
    let batch = TokenBatch::from_groups(groups, model.config(), model.device())?;
    batch.at_predicting_positions(&batch.hidden(model)?)
}

/// Logits x / T.
fn at_temperature(logits: &Tensor, temperature: f64) -> candle_core::Result<Tensor> {
    if temperature == 1. { Ok(logits.clone()) } else { logits / temperature }
}

/// `logits: (n, V)` of the policy at the positions `rows`, with −∞ for tokens that a sampling
/// filter excluded.
fn filtered(
    logits: &Tensor,
    allowed: &[AllowedTokens],
    rows: Range<usize>,
) -> candle_core::Result<Tensor> {
    let (_n, v) = logits.dims2()?;
    match allowed_tokens_mask(allowed, rows, v, logits.device())? {
        Some(mask) => logits + mask,
        None => Ok(logits.clone()),
    }
}

/// Mask to add to the logits of the positions `rows`, (n, V): 0 for tokens that could be sampled
/// there, −∞ for the others; `None` if all could, which an empty `allowed` says.
fn allowed_tokens_mask(
    allowed: &[AllowedTokens],
    rows: Range<usize>,
    v: usize,
    device: &Device,
) -> candle_core::Result<Option<Tensor>> {
    if allowed.is_empty() {
        return Ok(None);
    }
    let mut mask = vec![f32::NEG_INFINITY; rows.len() * v];
    for (row, allowed) in mask.chunks_exact_mut(v).zip(&allowed[rows.clone()]) {
        let (tokens, value) = match allowed {
            AllowedTokens::Only(tokens) => (tokens, 0.),
            AllowedTokens::AllBut(tokens) => {
                row.fill(0.);
                (tokens, f32::NEG_INFINITY)
            }
        };
        for &token in tokens {
            if let Some(entry) = row.get_mut(token as usize) {
                *entry = value; // a stop token may be beyond the model's vocabulary
            }
        }
    }
    Ok(Some(Tensor::from_vec(mask, (rows.len(), v), device)?))
}
