//! Log-probability of every token of a text given those before it, and the perplexity
//! exp(−mean log p).
//!
//! A text that is longer than the context is read in windows that overlap, as in the guide of
//! transformers (<https://huggingface.co/docs/transformers/perplexity>):
//!
//! ```text
//! window 1   [0 ........ context)                    all tokens but the first are scored
//! window 2        [stride ........ stride + context)      those that no window has scored
//! ```
//! The smaller the stride, the more tokens a scored one has before it, and the longer it takes.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use tensor_core::ops::token_log_probs;

use crate::{Cache, GptModern};

/// Tokens per forward pass.
const CHUNK: usize = 256;

/// Token log-probabilities and perplexity of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextLogProbs {
    /// log p of each token after the first.
    pub log_probs: Vec<f32>,
    /// exp(−mean log p): the number of equally likely tokens with the same uncertainty.
    pub perplexity: f64,
}

/// Log-probabilities of `tokens` under `model`, in windows of its context that begin `stride`
/// tokens after each other. `on_scored` is called with the log-probabilities of each window.
///
/// A window is read in chunks of fixed size with a KV cache, so the logits of a long text are never
/// in memory all at once.
///
/// # Errors
/// When there are fewer than two tokens, the stride is not less than the context, or the logits are
/// NaN; and those of `on_scored`.
pub fn text_log_probs(
    model: &GptModern,
    tokens: &[u32],
    stride: usize,
    mut on_scored: impl FnMut(&[f32]) -> Result<()>,
) -> Result<TextLogProbs> {
    let (n, context_len) = (tokens.len(), model.config().context_len);
    ensure!(n > 1, "too few tokens ({n}): a text needs at least 2");
    ensure!(
        (1..context_len).contains(&stride) || n <= context_len,
        "a stride of {stride} is not between 1 and {}: every token needs one before it in the \
         model's context of {context_len}",
        context_len - 1
    );
    let (mut log_probs, mut start) = (Vec::with_capacity(n - 1), 0);
    loop {
        let end = n.min(start + context_len);
        let scored = window_log_probs(model, &tokens[start..end], log_probs.len() + 1 - start)?;
        on_scored(&scored)?;
        log_probs.extend(scored);
        if end == n {
            break;
        }
        start += stride;
    }
    let mean = log_probs.iter().map(|&p| f64::from(p)).sum::<f64>() / log_probs.len() as f64;
    Ok(TextLogProbs { log_probs, perplexity: (-mean).exp() })
}

/// Log-probabilities of the tokens of a window from `first`, at least 1, on.
fn window_log_probs(model: &GptModern, window: &[u32], first: usize) -> Result<Vec<f32>> {
    let mut cache = Cache::dynamic(model.config().n_layer);
    let (chunk, start) = match model.config().attention.position.frequency_change() {
        Some(limit) if window.len() > limit => (window.len(), 1), // read as a whole
        _ => (CHUNK, first),
    };
    let mut log_probs = Vec::with_capacity(window.len() - start);
    let (context, scored) = window[..window.len() - 1].split_at(start - 1);
    for inputs in context.chunks(chunk) {
        let ids = Tensor::new(inputs, model.device())?.unsqueeze(0)?; // (1, T)
        model.hidden_states_cached(&ids, &mut cache)?;
    }
    for (inputs, next) in scored.chunks(chunk).zip(window[start..].chunks(chunk)) {
        let ids = Tensor::new(inputs, model.device())?.unsqueeze(0)?; // (1, T)
        let logits = model.logits(&model.hidden_states_cached(&ids, &mut cache)?)?; // (1, T, V)
        let targets: Vec<i64> = next.iter().map(|&token| i64::from(token)).collect();
        let targets = Tensor::new(targets, model.device())?.unsqueeze(0)?;
        let chunk = token_log_probs(&logits, &targets)?.flatten_all()?.to_dtype(DType::F32)?;
        log_probs.extend(chunk.to_vec1::<f32>()?);
    }
    let is_valid = log_probs.iter().all(|p| !p.is_nan());
    ensure!(is_valid, "the model's logits are NaN: its weights are damaged");
    Ok(log_probs.split_off(first - start))
}
