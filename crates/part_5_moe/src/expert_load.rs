//! 5.1 Expert load: the number of tokens assigned to each expert.

use serde::{Deserialize, Serialize};

/// Load of the experts of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExpertLoad {
    /// Assignments to each expert, including dropped ones, so that a capacity does not hide an
    /// overload.
    pub counts: Vec<usize>,
    /// Number of assignments dropped because their expert was full.
    pub dropped: usize,
}

impl ExpertLoad {
    /// Load of the selected experts `experts: (N, K)` of `n_expert`, with `dropped` assignments
    /// dropped.
    pub fn new(experts: &[u32], n_expert: usize, dropped: usize) -> Self {
        let mut counts = vec![0; n_expert];
        experts.iter().for_each(|&expert| counts[expert as usize] += 1);
        Self { counts, dropped }
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.dropped += other.dropped;
    }

    /// Total number of assignments.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Fraction of the assignments to each expert.
    pub fn fractions(&self) -> Vec<f64> {
        let total = self.total().max(1) as f64;
        self.counts.iter().map(|&count| count as f64 / total).collect()
    }

    /// Max load / mean load: 1 when balanced, E when one expert gets all tokens.
    pub fn max_load_ratio(&self) -> f64 {
        self.fractions().into_iter().fold(0., f64::max) * self.counts.len() as f64
    }

    /// Fraction of the assignments that were dropped.
    pub fn dropped_fraction(&self) -> f64 {
        self.dropped as f64 / self.total().max(1) as f64
    }
}
