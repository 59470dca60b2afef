//! 8.2 What a model says of responses that were drawn before: log-probabilities under the distribution that they were drawn from.
//!
//! ```text
//! log π(token) = log softmax(x / T)[token],   x = −∞ for tokens that a filter kept out when it was drawn
//! ```
//!
//! A filter is part of the distribution. Were it left out here, the ratio of the first pass would not be 1; were it drawn anew
//! from the scores of now, tokens would drop out that were drawn. So what it kept then is kept, as a set.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use modern::{GptModern, Sampler};
use tensor_core::ops::{entropy, token_log_probs};

use crate::rollout::RolloutGroup;
use crate::token_batch::TokenBatch;

/// What a model says of a batch, by response, 0 where there is no token.
#[derive(Debug)]
pub struct LogProbsAndEntropy {
    /// log π of each token: (R, T)
    pub log_probs: Tensor,
    /// The entropy of the distribution that each was drawn from, in nats: (R, T)
    pub entropy: Tensor,
}

/// What `model` says of `batch`, drawn at `temperature`, given what it `knows: (B · S, C)` ([`TokenBatch::hidden`]). With the gradient
/// that the model has.
///
/// # Errors
/// When the model and the batch do not fit.
pub fn log_probs_and_entropy(
    model: &GptModern,
    batch: &TokenBatch,
    knows: &Tensor,
    temperature: f64,
) -> Result<LogProbsAndEntropy> {
    let scores = logits(model, batch, knows, temperature)?; // (N, V)
    let log_probs = token_log_probs(&scores, &batch.targets)?;
    Ok(LogProbsAndEntropy {
        log_probs: batch.to_padded(&log_probs)?,
        entropy: batch.to_padded(&entropy(&scores)?)?,
    })
}

/// log π of each token alone: (R, T).
///
/// # Errors
/// As [`score`].
pub fn log_probs(model: &GptModern, batch: &TokenBatch, temperature: f64) -> Result<Tensor> {
    let scores = logits(model, batch, &batch.hidden(model)?, temperature)?;
    batch.to_padded(&token_log_probs(&scores, &batch.targets)?)
}

/// The scores x / T of all tokens where each of the N was drawn, those that were kept out at −∞: (N, V), in f32.
///
/// # Errors
/// As [`score`].
pub fn logits(
    model: &GptModern,
    batch: &TokenBatch,
    knows: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    let mut scores = model.logits(&batch.at_predicting_positions(knows)?)?.to_dtype(DType::F32)?; // (N, V)
    if temperature != 1. {
        scores = (scores / temperature)?;
    }
    match batch.allowed_tokens_mask(model.config().vocab_size)? {
        Some(filter) => Ok((scores + filter)?),
        None => Ok(scores),
    }
}

/// Notes in `groups` among which tokens each one was drawn by `sampler` from what `model`, an inference twin, says.
///
/// # Errors
/// As [`score`].
pub fn record_allowed_tokens(
    model: &GptModern,
    groups: &mut [RolloutGroup],
    sampler: &Sampler,
) -> Result<()> {
    for group in groups {
        let batch = TokenBatch::from_groups([&*group], model.config(), model.device())?;
        let logits = model.logits(&batch.at_predicting_positions(&batch.hidden(model)?)?)?; // (N, V)
        let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
        let mut rows = logits.iter();
        for response in &mut group.completions {
            let each = response.tokens.iter().zip(rows.by_ref());
            let kept = each.map(|(&token, row)| {
                let passed = sampler.probabilities(row, &[]).into_iter().map(|(token, _)| token);
                let mut kept: Vec<u32> = passed.collect();
                if !kept.contains(&token) {
                    kept.push(token); // it passed when it was drawn, by a hair that rounding took
                }
                kept
            });
            response.allowed_tokens = kept.collect();
        }
    }
    Ok(())
}
