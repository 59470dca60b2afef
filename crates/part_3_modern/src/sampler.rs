//! Token sampling from a distribution over the vocabulary, with the log-probability of the choice.
//! Adds a repetition penalty and min-p to part 2's filters.
//!
//! The repetition penalty ρ divides positive logits of tokens that occurred by ρ and multiplies
//! negative ones (<https://arxiv.org/abs/1909.05858>). Then come the temperature and the filters:
//! top-k, top-p, and min-p, which keeps tokens at least `min_p` times as likely as the most likely
//! one (<https://arxiv.org/abs/2407.01082>). Order and handling of ties match transformers.

use model_io::GenerationConfig;
use tensor_core::Rng;
use tiny_gpt::sampling::{keep_top_k, keep_top_p};

/// Sampling strategy and repetition penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Greedy or random sampling.
    pub strategy: SamplingStrategy,
    /// Repetition penalty ρ > 0; 1 disables it.
    pub repetition_penalty: f64,
}

/// Greedy decoding, or random sampling with temperature and filters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SamplingStrategy {
    /// Most likely token; the lowest ID wins ties.
    Greedy,
    /// Random token among those that pass the filters, in proportion to its probability.
    Random {
        /// Temperature T > 0.
        temperature: f64,
        /// Keep the k most likely tokens and any ties with the last of them.
        top_k: Option<usize>,
        /// Keep the smallest set of tokens with total probability p, 0 < p ≤ 1 (nucleus sampling).
        top_p: Option<f64>,
        /// Keep tokens at least this fraction as likely as the most likely one.
        min_p: Option<f64>,
    },
}

/// Sampled token and its log-probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampledToken {
    /// Token ID.
    pub token: u32,
    /// Log-probability of the token after penalty, temperature and filters; 0 if greedy.
    pub log_prob: f32,
}

impl SamplingStrategy {
    /// Strategy with this temperature (0 means greedy) and these filters.
    pub fn new(
        temperature: f64,
        top_k: Option<usize>,
        top_p: Option<f64>,
        min_p: Option<f64>,
    ) -> Self {
        match temperature == 0. {
            true => Self::Greedy,
            false => Self::Random { temperature, top_k, top_p, min_p },
        }
    }
}

impl Sampler {
    /// Sampler without repetition penalty.
    pub fn new(strategy: SamplingStrategy) -> Self {
        Self { strategy, repetition_penalty: 1. }
    }

    /// Samples a token from `logits: (V)`, which must not contain NaN. `seen[token]` is true for
    /// tokens that occurred (`seen` may be shorter than V).
    pub fn sample_token(&self, logits: &[f32], seen: &[bool], rng: &mut Rng) -> SampledToken {
        if self.strategy == SamplingStrategy::Greedy {
            return SampledToken { token: self.argmax(logits, seen), log_prob: 0. };
        }
        let allowed = self.filtered(self.penalized(logits, seen));
        let total: f64 = allowed.iter().map(|(_, weight)| weight).sum();
        let mut remaining = rng.uniform() * total;
        // Rounding may leave a remainder after the last token, which is then chosen.
        let chosen = allowed.iter().find(|(_, weight)| {
            remaining -= weight;
            remaining < 0.
        });
        let &(token, weight) = chosen.or(allowed.last()).unwrap_or(&(0, total));
        SampledToken { token, log_prob: (weight / total).ln() as f32 }
    }

    /// Probability of every token that [`Sampler::sample_token`] may choose, ordered by token ID.
    pub fn probabilities(&self, logits: &[f32], seen: &[bool]) -> Vec<(u32, f64)> {
        let mut allowed = match self.strategy {
            SamplingStrategy::Greedy => vec![(self.argmax(logits, seen), 1.)],
            SamplingStrategy::Random { .. } => self.filtered(self.penalized(logits, seen)),
        };
        let total: f64 = allowed.iter().map(|(_, weight)| weight).sum();
        allowed.iter_mut().for_each(|(_, weight)| *weight /= total);
        allowed
    }

    /// Logits after the repetition penalty.
    fn penalized(&self, logits: &[f32], seen: &[bool]) -> impl Iterator<Item = f64> {
        let rho = self.repetition_penalty;
        let seen = seen.iter().copied().chain(std::iter::repeat(false));
        logits.iter().zip(seen).map(move |(&x, seen)| match (f64::from(x), seen) {
            (x, false) => x,
            (x, true) if x > 0. => x / rho,
            (x, true) => x * rho,
        })
    }

    /// First token with the highest logit.
    fn argmax(&self, logits: &[f32], seen: &[bool]) -> u32 {
        let mut best = (0, f64::NEG_INFINITY);
        for (token, x) in self.penalized(logits, seen).enumerate() {
            if x > best.1 {
                best = (token, x);
            }
        }
        best.0 as u32
    }

    /// Tokens that pass the filters, ordered by ID, with unnormalized probabilities.
    fn filtered(&self, logits: impl Iterator<Item = f64>) -> Vec<(u32, f64)> {
        let SamplingStrategy::Random { temperature, top_k, top_p, min_p } = self.strategy else {
            return Vec::new();
        };
        let possible = (0..).zip(logits).filter(|(_, x)| *x > f64::NEG_INFINITY);
        let mut allowed: Vec<(u32, f64)> = possible.collect();
        if let Some(k) = top_k {
            keep_top_k(&mut allowed, k);
        }
        let max = allowed.iter().fold(f64::NEG_INFINITY, |max, (_, x)| max.max(*x));
        allowed.iter_mut().for_each(|(_, x)| *x = ((*x - max) / temperature).exp());
        if let Some(p) = top_p {
            keep_top_p(&mut allowed, p);
        }
        if let Some(min_p) = min_p {
            allowed.retain(|&(_, weight)| weight >= min_p); // the most likely token has weight 1
        }
        allowed
    }
}

impl From<GenerationConfig> for Sampler {
    fn from(config: GenerationConfig) -> Self {
        let GenerationConfig { temperature, top_k, top_p, min_p, repetition_penalty } = config;
        let strategy = SamplingStrategy::new(temperature, top_k, top_p, min_p);
        Self { strategy, repetition_penalty }
    }
}

impl From<&Sampler> for GenerationConfig {
    fn from(sampler: &Sampler) -> Self {
        let repetition_penalty = sampler.repetition_penalty;
        match sampler.strategy {
            SamplingStrategy::Greedy => {
                Self { temperature: 0., top_k: None, top_p: None, min_p: None, repetition_penalty }
            }
            SamplingStrategy::Random { temperature, top_k, top_p, min_p } => {
                Self { temperature, top_k, top_p, min_p, repetition_penalty }
            }
        }
    }
}
