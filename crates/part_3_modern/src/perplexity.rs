//! How likely a model finds a text: log p of each token given those before, and the perplexity exp(−mean log p).

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use tensor_core::ops::token_log_probs;

use crate::{Cache, GptModern};

/// Tokens that are read at a time.
const CHUNK: usize = 256;

/// A text's tokens but the first, judged one by one.
#[derive(Debug, Clone, PartialEq)]
pub struct TextLogProbs {
    /// The logarithm of the probability of each token but the first.
    pub log_probs: Vec<f32>,
    /// As many equally likely tokens would surprise as much: exp(−mean log p).
    pub perplexity: f64,
}

/// Judges `tokens`, read in chunks of fixed size into a cache, so that the scores of a long text never lie in memory at
/// once.
///
/// # Errors
/// When there are fewer than two tokens, or more than the context, or the model's scores are not numbers.
pub fn text_log_probs(model: &GptModern, tokens: &[u32]) -> Result<TextLogProbs> {
    let (n, context) = (tokens.len(), model.config().context_len);
    ensure!(n > 1, "a text of {n} tokens: the first has nothing before it, so two are needed");
    ensure!(n <= context, "the text has {n} tokens, the model's context is {context}");
    let mut cache = Cache::dynamic(model.config().n_layer);
    let mut log_probs = Vec::with_capacity(n - 1);
    for (read, next) in tokens[..n - 1].chunks(CHUNK).zip(tokens[1..].chunks(CHUNK)) {
        let ids = Tensor::new(read, model.device())?.unsqueeze(0)?; // (1, T)
        let logits = model.logits(&model.hidden_states_cached(&ids, &mut cache)?)?; // (1, T, V)
        let targets: Vec<i64> = next.iter().map(|&token| i64::from(token)).collect();
        let targets = Tensor::new(targets, model.device())?.unsqueeze(0)?;
        let chunk = token_log_probs(&logits, &targets)?.flatten_all()?.to_dtype(DType::F32)?;
        log_probs.extend(chunk.to_vec1::<f32>()?);
    }
    let numbers = log_probs.iter().all(|p| !p.is_nan());
    ensure!(numbers, "the model's scores are not numbers: its weights are damaged");
    let mean = log_probs.iter().map(|&p| f64::from(p)).sum::<f64>() / log_probs.len() as f64;
    Ok(TextLogProbs { log_probs, perplexity: (-mean).exp() })
}
