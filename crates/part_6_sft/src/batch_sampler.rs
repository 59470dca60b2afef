//! Which examples each step learns from: the batches of a curriculum, epoch after epoch.
//!
//! They follow from the batch's number alone, so nothing of them is saved.

use crate::Curriculum;

/// The batches of a run.
#[derive(Debug)]
pub struct BatchSampler {
    lengths: Vec<usize>,
    curriculum: Curriculum,
    batch_size: usize,
    seed: u64,
    /// Its number, and its batches.
    epoch: (usize, Vec<Vec<usize>>),
}

impl BatchSampler {
    /// Of examples with these lengths, `batch_size` at a time.
    ///
    /// # Panics
    /// When there are none, or `batch_size` is 0.
    pub fn new(lengths: Vec<usize>, curriculum: Curriculum, batch_size: usize, seed: u64) -> Self {
        assert!(!lengths.is_empty(), "an order of nothing");
        let first = curriculum.batches(&lengths, batch_size, 0, seed);
        Self { lengths, curriculum, batch_size, seed, epoch: (0, first) }
    }

    /// The examples of batch `number` of the run, counted from 0.
    pub fn batch_indices(&mut self, number: usize) -> &[usize] {
        let in_epoch = self.lengths.len().div_ceil(self.batch_size);
        let epoch = number / in_epoch;
        if self.epoch.0 != epoch {
            let batches = self.curriculum.batches(&self.lengths, self.batch_size, epoch, self.seed);
            self.epoch = (epoch, batches);
        }
        &self.epoch.1[number % in_epoch]
    }
}
