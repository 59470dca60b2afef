//! 2.5 Sampling: from logits to the next token, and token by token to text.
//!
//! The temperature T divides the logits: T < 1 sharpens the distribution, and T → 0 is greedy.
//! Top-k keeps the k most likely tokens. Top-p (nucleus sampling, Holtzman et al.,
//! <https://arxiv.org/abs/1904.09751>) keeps the fewest tokens with total probability of at least
//! p, including the token that crosses p.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::Gpt;

/// Sampling strategy for the next token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// Most likely token, the first one of equals.
    Greedy,
    /// Random token, drawn from the filtered distribution.
    Random {
        /// Temperature T > 0.
        temperature: f64,
        /// Number of most likely tokens to keep; ties with the last one are kept too.
        top_k: Option<usize>,
        /// Total probability of the tokens to keep, 0 < p ≤ 1.
        top_p: Option<f64>,
    },
}

impl Sampling {
    /// Random sampling at `temperature` with filters; temperature 0 is greedy.
    pub fn new(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Self {
        if temperature == 0. { Self::Greedy } else { Self::Random { temperature, top_k, top_p } }
    }

    /// Probability of each token to be sampled, given `logits: (V)`.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        let Self::Random { temperature, top_k, top_p } = *self else {
            let best = argmax(logits);
            return (0..logits.len()).map(|i| if i == best { 1. } else { 0. }).collect();
        };
        let scaled = logits.iter().map(|&x| f64::from(x) / temperature);
        let mut candidates: Vec<(u32, f64)> = (0..).zip(scaled).collect();
        if let Some(k) = top_k {
            keep_top_k(&mut candidates, k);
        }
        softmax(&mut candidates);
        if let Some(p) = top_p {
            keep_top_p(&mut candidates, p);
        }
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut probabilities = vec![0.; logits.len()];
        for (token, weight) in candidates {
            probabilities[token as usize] = weight / total;
        }
        probabilities
    }

    /// Samples a token from `logits: (V)`.
    pub fn sample_token(&self, logits: &[f32], rng: &mut Rng) -> u32 {
        if let Self::Greedy = self {
            return argmax(logits) as u32;
        }
        let probabilities = self.probabilities(logits);
        let mut remaining = rng.uniform();
        let mut sampled = 0;
        for (token, &probability) in probabilities.iter().enumerate() {
            if probability > 0. {
                sampled = token; // rounding may leave a remainder after the last token
                remaining -= probability;
                if remaining < 0. {
                    break;
                }
            }
        }
        sampled as u32
    }
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// Keeps the k tokens with the largest logits, and all that tie with the last one.
pub fn keep_top_k(logits: &mut Vec<(u32, f64)>, k: usize) {
    if 0 < k && k < logits.len() {
        let mut values: Vec<f64> = logits.iter().map(|(_, logit)| *logit).collect();
        let (_, &mut kth, _) = values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        logits.retain(|&(_, logit)| logit >= kth);
    }
}

/// Keeps the fewest tokens whose weights sum to at least the fraction p of the total, including the
/// token that crosses it; of equal weights, the first. Weights are unnormalized probabilities, in
/// order of the token ids.
pub fn keep_top_p(weights: &mut Vec<(u32, f64)>, p: f64) {
    if p >= 1. {
        return;
    }
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    // All weights below this sum to less than 1 − p of the total, so the nucleus is among the
    // others, and only these few need sorting.
    let negligible = (1. - p) * total / weights.len() as f64;
    weights.retain(|&(_, weight)| weight >= negligible);
    weights.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: equal weights keep their order
    let mut cumulative = 0.;
    let end = weights.iter().position(|(_, weight)| {
        cumulative += weight;
        cumulative >= p * total
    });
    weights.truncate(end.map_or(weights.len(), |end| end + 1));
    weights.sort_by_key(|&(token, _)| token);
}

/// Replaces logits by their softmax.
fn softmax(logits: &mut [(u32, f64)]) {
    let max = logits.iter().fold(f64::NEG_INFINITY, |max, (_, x)| max.max(*x));
    logits.iter_mut().for_each(|(_, x)| *x = (*x - max).exp());
    let sum: f64 = logits.iter().map(|(_, x)| x).sum();
    logits.iter_mut().for_each(|(_, x)| *x /= sum);
}

/// Samples `max_new_tokens` tokens after `prompt` and returns them. `on_token` is called with each
/// token as it is sampled and can stop the generation with an error. The context is the last
/// `context_len` tokens, and all of them are recomputed for each new token; part 3's KV cache
/// avoids that cost.
///
/// Pass the inference copy of a model in training: it builds no autograd graph and has dropout off.
///
/// # Errors
/// When the prompt is empty or has a token outside the vocabulary, and those of `on_token`.
pub fn generate(
    model: &Gpt,
    prompt: &[u32],
    max_new_tokens: usize,
    sampling: &Sampling,
    rng: &mut Rng,
    mut on_token: impl FnMut(u32) -> Result<()>,
) -> Result<Vec<u32>> {
    ensure!(!prompt.is_empty(), "the prompt is empty: there is nothing to continue");
    let device = model.device();
    let mut tokens = prompt.to_vec();
    for _ in 0..max_new_tokens {
        let context = &tokens[tokens.len().saturating_sub(model.config().context_len)..];
        let ids = Tensor::new(context, device)?.unsqueeze(0)?; // (1, T)
        let logits = model.next_logits(&ids)?.squeeze(0)?.to_dtype(DType::F32)?; // (V)
        let token = sampling.sample_token(&logits.to_device(&Device::Cpu)?.to_vec1()?, rng);
        on_token(token)?;
        tokens.push(token);
    }
    Ok(tokens.split_off(prompt.len()))
}
