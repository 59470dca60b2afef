//! Batch sampler: the examples of each batch of a run, epoch after epoch.
//!
//! A batch depends on its index only, so checkpoints store no sampler state.

use crate::Curriculum;

/// Batches of a run, in the order of a curriculum.
#[derive(Debug)]
pub struct BatchSampler {
    lengths: Vec<usize>,
    curriculum: Curriculum,
    batch_size: usize,
    seed: u64,
    /// Index of the current epoch, and its batches.
    epoch: (usize, Vec<Vec<usize>>),
}

impl BatchSampler {
    /// Sampler of examples with these lengths, `batch_size` at a time.
    ///
    /// # Panics
    /// When `lengths` is empty or `batch_size` is 0.
    pub fn new(lengths: Vec<usize>, curriculum: Curriculum, batch_size: usize, seed: u64) -> Self {
        assert!(!lengths.is_empty(), "there are no examples to sample from");
        let first = curriculum.batches(&lengths, batch_size, 0, seed);
        Self { lengths, curriculum, batch_size, seed, epoch: (0, first) }
    }

    /// Example indices of batch `index` of the run, counted from 0.
    pub fn batch_indices(&mut self, index: usize) -> &[usize] {
        let batches_per_epoch = self.lengths.len().div_ceil(self.batch_size);
        let epoch = index / batches_per_epoch;
        if self.epoch.0 != epoch {
            let batches = self.curriculum.batches(&self.lengths, self.batch_size, epoch, self.seed);
            self.epoch = (epoch, batches);
        }
        &self.epoch.1[index % batches_per_epoch]
    }
}
