//! Choosing a token among tens of thousands: part 2's filters and two more, and the probability that the choice had.
//!
//! A repetition penalty ρ divides positive scores of tokens that occurred by ρ and multiplies negative ones
//! (<https://arxiv.org/abs/1909.05858>). Then the temperature, then the filters: top-k, top-p, and min-p, which keeps what is
//! at least a share of the likeliest (<https://arxiv.org/abs/2407.01082>). Order and ties are those of transformers.

use tensor_core::Rng;
use tiny_gpt::sampling::{keep_top_k, keep_top_p};

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Among which, and at what odds.
    pub strategy: SamplingStrategy,
    /// ρ > 0; 1 changes nothing.
    pub repetition_penalty: f64,
}

/// Among which tokens is chosen, and at what odds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SamplingStrategy {
    /// The likeliest, the first of equals.
    Greedy,
    /// Any of those that pass, likelier ones more often.
    Random {
        /// T > 0
        temperature: f64,
        /// Pass the k likeliest; ties with the last of them pass too.
        top_k: Option<usize>,
        /// Pass the fewest that hold this share, 0 < p ≤ 1.
        top_p: Option<f64>,
        /// Pass those at least this share as likely as the likeliest.
        min_p: Option<f64>,
    },
}

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampledToken {
    /// Its id.
    pub token: u32,
    /// The logarithm of the probability that it had, after penalty, temperature and filters: 0 when greedy.
    pub log_prob: f32,
}

impl SamplingStrategy {
    /// At this temperature, 0 being greedy, among those that the filters let pass.
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
    /// No penalty.
    pub fn new(choice: SamplingStrategy) -> Self {
        Self { strategy: choice, repetition_penalty: 1. }
    }

    /// Chooses by the scores `logits: (V)`, none of them NaN; `seen[token]` says whether a token occurred (it may be
    /// shorter than V).
    pub fn sample_token(&self, logits: &[f32], seen: &[bool], rng: &mut Rng) -> SampledToken {
        if self.strategy == SamplingStrategy::Greedy {
            return SampledToken { token: self.argmax(logits, seen), log_prob: 0. };
        }
        let kept = self.filtered(self.penalized(logits, seen));
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.uniform() * total;
        // Rounding may leave a crumb past the last one, which is then chosen.
        let chosen = kept.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.
        });
        let &(token, weight) = chosen.or(kept.last()).unwrap_or(&(0, total));
        SampledToken { token, log_prob: (weight / total).ln() as f32 }
    }

    /// The tokens among which [`Sampler::draw`] chooses, in order, each with its probability.
    pub fn probabilities(&self, logits: &[f32], seen: &[bool]) -> Vec<(u32, f64)> {
        let mut kept = match self.strategy {
            SamplingStrategy::Greedy => vec![(self.argmax(logits, seen), 1.)],
            SamplingStrategy::Random { .. } => self.filtered(self.penalized(logits, seen)),
        };
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        kept.iter_mut().for_each(|(_, weight)| *weight /= total);
        kept
    }

    /// The scores after the penalty.
    fn penalized(&self, logits: &[f32], seen: &[bool]) -> impl Iterator<Item = f64> {
        let rho = self.repetition_penalty;
        let seen = seen.iter().copied().chain(std::iter::repeat(false));
        logits.iter().zip(seen).map(move |(&x, seen)| match (f64::from(x), seen) {
            (x, false) => x,
            (x, true) if x > 0. => x / rho,
            (x, true) => x * rho,
        })
    }

    /// The first of the tokens with the best score.
    fn argmax(&self, logits: &[f32], seen: &[bool]) -> u32 {
        let mut best = (0, f64::NEG_INFINITY);
        for (token, x) in self.penalized(logits, seen).enumerate() {
            if x > best.1 {
                best = (token, x);
            }
        }
        best.0 as u32
    }

    /// Tokens that pass and their weights, in order of their ids.
    fn filtered(&self, logits: impl Iterator<Item = f64>) -> Vec<(u32, f64)> {
        let SamplingStrategy::Random { temperature, top_k, top_p, min_p } = self.strategy else {
            return Vec::new();
        };
        let possible = (0..).zip(logits).filter(|(_, x)| *x > f64::NEG_INFINITY);
        let mut kept: Vec<(u32, f64)> = possible.collect();
        if let Some(k) = top_k {
            keep_top_k(&mut kept, k);
        }
        let max = kept.iter().fold(f64::NEG_INFINITY, |max, (_, x)| max.max(*x));
        kept.iter_mut().for_each(|(_, x)| *x = ((*x - max) / temperature).exp());
        if let Some(p) = top_p {
            keep_top_p(&mut kept, p);
        }
        if let Some(share) = min_p {
            kept.retain(|&(_, weight)| weight >= share); // the likeliest has weight 1
        }
        kept
    }
}
