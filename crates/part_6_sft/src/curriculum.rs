//! 6.3 Curriculum: the order of the training examples, and their batches.
//!
//! Short examples first is how a person would begin; stochastic gradient descent assumes a shuffled
//! order. When shuffled, examples of similar length still share a batch, because computation on
//! padding is wasted. The loss of a step is a mean over the tokens of its batch, so a token of a
//! short completion then weighs more than one of a long completion: each completion counts about
//! alike, where batches of mixed lengths count each token alike. The order depends on the seed and
//! the epoch only, so a resumed run needs only the number of its step.

use serde::Serialize;
use tensor_core::Rng;

/// Order of the training examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Curriculum {
    /// Shortest first in every epoch
    ByLength,
    /// Shuffled anew in every epoch
    #[default]
    Shuffled,
    /// Shortest first in the first epoch, then shuffled
    ByLengthThenShuffled,
}

/// Batches per bucket. A bucket is sorted by length after the shuffle, and is large enough to group
/// examples of similar length.
const BUCKET_BATCHES: usize = 32;

impl Curriculum {
    /// Batches of epoch `epoch`, as indices of examples with these lengths: `size` per batch, the
    /// last one may have fewer.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn batches(
        self,
        lengths: &[usize],
        size: usize,
        epoch: usize,
        seed: u64,
    ) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        if self == Self::ByLength || (self == Self::ByLengthThenShuffled && epoch == 0) {
            order.sort_by_key(|&example| lengths[example]);
            return order.chunks(size).map(<[usize]>::to_vec).collect();
        }
        let mut rng = Rng::of_index(seed, epoch as u64);
        rng.shuffle(&mut order);
        for bucket in order.chunks_mut(BUCKET_BATCHES.saturating_mul(size)) {
            bucket.sort_by_key(|&example| lengths[example]);
        }
        let mut batches: Vec<Vec<usize>> = order.chunks(size).map(<[usize]>::to_vec).collect();
        rng.shuffle(&mut batches);
        batches
    }
}

/// Batch sampler: the batches of a run, epoch after epoch, in the order of a curriculum. A batch
/// depends on its index only, so checkpoints store no sampler state.
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
