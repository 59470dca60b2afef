//! 5.1 How many tokens went where.

use serde::Serialize;

/// The load of a layer's experts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ExpertLoad {
    /// Choices that fell on each expert, dropped ones too: a limit must not hide that an expert is asked too much.
    pub counts: Vec<usize>,
    /// Choices that found their expert full.
    pub dropped: usize,
}

impl ExpertLoad {
    /// Of `experts: (N, K)`, chosen among `n_expert`, `dropped` of them in vain.
    pub fn new(experts: &[u32], n_expert: usize, dropped: usize) -> Self {
        let mut counts = vec![0; n_expert];
        experts.iter().for_each(|&expert| counts[expert as usize] += 1);
        Self { counts, dropped }
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(all, count)| *all += count);
        self.dropped += other.dropped;
    }

    /// Choices in all.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// The share of each expert.
    pub fn fractions(&self) -> Vec<f64> {
        let total = self.total().max(1) as f64;
        self.counts.iter().map(|&count| count as f64 / total).collect()
    }

    /// The largest share, times the number of experts: 1 when even, E when one gets everything.
    pub fn max_load_ratio(&self) -> f64 {
        self.fractions().into_iter().fold(0., f64::max) * self.counts.len() as f64
    }

    /// The share of choices that were dropped.
    pub fn dropped_fraction(&self) -> f64 {
        self.dropped as f64 / self.total().max(1) as f64
    }
}
