//! Log-probability of every token of a text given those before it, and the perplexity
//! exp(−mean log p).

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

/// Log-probabilities of `tokens` under `model`.
///
/// The text is read in chunks of fixed size with a KV cache, so the logits of a long text are never
/// in memory all at once.
///
/// # Errors
/// When there are fewer than two tokens or more than the context length, or the logits are NaN.
pub fn text_log_probs(model: &GptModern, tokens: &[u32]) -> Result<TextLogProbs> {
    let (n, context_len) = (tokens.len(), model.config().context_len);
    ensure!(n > 1, "the text has {n} tokens; at least 2 are required");
    ensure!(n <= context_len, "the text has {n} tokens, the model's context is {context_len}");
    let mut cache = Cache::dynamic(model.config().n_layer);
    let mut log_probs = Vec::with_capacity(n - 1);
    for (inputs, next) in tokens[..n - 1].chunks(CHUNK).zip(tokens[1..].chunks(CHUNK)) {
        let ids = Tensor::new(inputs, model.device())?.unsqueeze(0)?; // (1, T)
        let logits = model.logits(&model.hidden_states_cached(&ids, &mut cache)?)?; // (1, T, V)
        let targets: Vec<i64> = next.iter().map(|&token| i64::from(token)).collect();
        let targets = Tensor::new(targets, model.device())?.unsqueeze(0)?;
        let chunk = token_log_probs(&logits, &targets)?.flatten_all()?.to_dtype(DType::F32)?;
        log_probs.extend(chunk.to_vec1::<f32>()?);
    }
    let is_valid = log_probs.iter().all(|p| !p.is_nan());
    ensure!(is_valid, "the model's logits are NaN: its weights are damaged");
    let mean = log_probs.iter().map(|&p| f64::from(p)).sum::<f64>() / log_probs.len() as f64;
    Ok(TextLogProbs { log_probs, perplexity: (-mean).exp() })
}
