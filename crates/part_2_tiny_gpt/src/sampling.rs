//! 2.5 Sampling: turning scores into a next token, and next tokens into text.
//!
//! Temperature T divides the logits: below 1 the likely becomes likelier, towards 0 only the best is left. Top-k keeps
//! the k best tokens, top-p (nucleus, Holtzman et al., <https://arxiv.org/abs/1904.09751>) the fewest that hold at
//! least the share p, including the one that crosses it.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::Gpt;

/// Sampling strategy for the next token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The most likely token, the first of equals.
    Greedy,
    /// A random token, likely ones more often.
    Random {
        /// T > 0
        temperature: f64,
        /// Keep this many of the best; ties with the last one are kept too.
        top_k: Option<usize>,
        /// Keep the fewest that hold this share, 0 < p ≤ 1.
        top_p: Option<f64>,
    },
}

impl Sampling {
    /// Random at `temperature` with filters; temperature 0 is greedy.
    pub fn new(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Self {
        if temperature == 0. { Self::Greedy } else { Self::Random { temperature, top_k, top_p } }
    }

    /// The chance of each token to be drawn, given the scores `logits: (V)`.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        let Self::Random { temperature, top_k, top_p } = *self else {
            let best = argmax(logits);
            return (0..logits.len()).map(|i| if i == best { 1. } else { 0. }).collect();
        };
        let scores = logits.iter().map(|&x| f64::from(x) / temperature);
        let mut kept: Vec<(u32, f64)> = (0..).zip(scores).collect();
        if let Some(k) = top_k {
            keep_top_k(&mut kept, k);
        }
        softmax(&mut kept);
        if let Some(p) = top_p {
            keep_top_p(&mut kept, p);
        }
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut probabilities = vec![0.; logits.len()];
        for (token, weight) in kept {
            probabilities[token as usize] = weight / total;
        }
        probabilities
    }

    /// Draws a token from the scores `logits: (V)`.
    pub fn sample_token(&self, logits: &[f32], rng: &mut Rng) -> u32 {
        if let Self::Greedy = self {
            return argmax(logits) as u32;
        }
        let probabilities = self.probabilities(logits);
        let mut left = rng.uniform();
        let mut chosen = 0;
        for (token, &probability) in probabilities.iter().enumerate() {
            if probability > 0. {
                chosen = token; // rounding may leave a crumb past the last one
                left -= probability;
                if left < 0. {
                    break;
                }
            }
        }
        chosen as u32
    }
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// Of tokens with their scores, keeps the k best, and all that tie with the last of them.
pub fn keep_top_k(scores: &mut Vec<(u32, f64)>, k: usize) {
    if 0 < k && k < scores.len() {
        let mut order: Vec<f64> = scores.iter().map(|(_, score)| *score).collect();
        let (_, &mut kth, _) = order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        scores.retain(|&(_, score)| score >= kth);
    }
}

/// Of tokens with their weights (probabilities, but for a common factor), in order of their ids, keeps the fewest that
/// hold the share p, the one that crosses it among them; of equals the first.
pub fn keep_top_p(weights: &mut Vec<(u32, f64)>, p: f64) {
    if p >= 1. {
        return;
    }
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    // Together, those below this hold less than 1 − p: the nucleus is among the others, which are few to sort.
    let negligible = (1. - p) * total / weights.len() as f64;
    weights.retain(|&(_, weight)| weight >= negligible);
    weights.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: equals stay in order
    let mut held = 0.;
    let end = weights.iter().position(|(_, weight)| {
        held += weight;
        held >= p * total
    });
    weights.truncate(end.map_or(weights.len(), |end| end + 1));
    weights.sort_by_key(|&(token, _)| token);
}

/// Turns scores into probabilities.
fn softmax(scores: &mut [(u32, f64)]) {
    let max = scores.iter().fold(f64::NEG_INFINITY, |max, (_, score)| max.max(*score));
    scores.iter_mut().for_each(|(_, x)| *x = (*x - max).exp());
    let sum: f64 = scores.iter().map(|(_, x)| x).sum();
    scores.iter_mut().for_each(|(_, x)| *x /= sum);
}

/// Continues `prompt` by `max_new_tokens` tokens and gives those; `on_token` sees each as it is drawn, and may end
/// it all with an error. The model sees the last `block_size` tokens and reads all of them anew for each next one; part 3's
/// cache removes that cost.
///
/// Give it the inference twin of a model in training: it builds no graph and drops nothing out.
///
/// # Errors
/// When the prompt is empty or holds a token that the model does not know, and those of `on_token`.
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
        let seen = &tokens[tokens.len().saturating_sub(model.config().context_len)..];
        let ids = Tensor::new(seen, device)?.unsqueeze(0)?; // (1, T)
        let logits = model.next_logits(&ids)?.squeeze(0)?.to_dtype(DType::F32)?; // (V)
        let token = sampling.sample_token(&logits.to_device(&Device::Cpu)?.to_vec1()?, rng);
        on_token(token)?;
        tokens.push(token);
    }
    Ok(tokens.split_off(prompt.len()))
}
