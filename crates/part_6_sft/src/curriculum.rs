//! 6.3 Curriculum: the order of the training examples, and their batches.
//!
//! Short examples first is how a person would begin; stochastic gradient descent assumes a shuffled
//! order. When shuffled, examples of similar length still share a batch, because computation on
//! padding is wasted. The loss of a step is a mean over the tokens of its batch, so a token of a
//! short completion then weighs more than one of a long completion: each completion counts about
//! alike, where batches of mixed lengths count each token alike.
//!
//! Only examples of one bucket are sorted by length. A bucket is a quarter of the data or less, so
//! that an example has other companions in the next epoch, and the incomplete batch is not always
//! that of the longest. The order depends on the seed and the epoch only, so a resumed run needs
//! only the number of its step.

use experiment::LengthGrouping;
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

/// Most batches per bucket. A bucket is sorted by length after the shuffle, and is large enough to
/// group examples of similar length.
const MAX_BUCKET_BATCHES: usize = 32;
/// Fewest buckets of an epoch, as far as each has a batch: those of Hugging Face's megabatches.
const MIN_BUCKETS: usize = 4;

impl Curriculum {
    /// Batches of epoch `epoch`, as indices of examples with these lengths: `size` per batch, one
    /// may have fewer. A shuffled order groups similar lengths by `grouping`.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn batches(
        self,
        lengths: &[usize],
        size: usize,
        epoch: usize,
        seed: u64,
        grouping: LengthGrouping,
    ) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        if self == Self::ByLength || (self == Self::ByLengthThenShuffled && epoch == 0) {
            order.sort_by_key(|&example| lengths[example]);
            return order.chunks(size).map(<[usize]>::to_vec).collect();
        }
        let bucket_batches = bucket_batches(grouping, lengths.len(), size);
        let mut rng = Rng::of_index(seed, epoch as u64);
        rng.shuffle(&mut order);
        let mut batches = Vec::new();
        for bucket in order.chunks_mut(bucket_batches.saturating_mul(size)) {
            bucket.sort_by_key(|&example| lengths[example]);
            let n_rest = bucket.len() % size; // 0 but in the last bucket
            let draws_place = n_rest > 0 && bucket_batches < MAX_BUCKET_BATCHES;
            let place = match draws_place {
                true => rng.below(bucket.len() / size + 1) * size,
                false => bucket.len() - n_rest,
            };
            let (before, rest) = bucket.split_at(place);
            let (incomplete, after) = rest.split_at(n_rest);
            let in_order = before.chunks(size).chain([incomplete]).chain(after.chunks(size));
            batches.extend(in_order.filter(|batch| !batch.is_empty()).map(<[usize]>::to_vec));
        }
        rng.shuffle(&mut batches);
        batches
    }
}

/// Batches per bucket of an epoch of `n` examples in batches of `size`.
fn bucket_batches(grouping: LengthGrouping, n: usize, size: usize) -> usize {
    match grouping {
        LengthGrouping::FixedBuckets => MAX_BUCKET_BATCHES,
        LengthGrouping::Megabatches => (n / size / MIN_BUCKETS).clamp(1, MAX_BUCKET_BATCHES),
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
    grouping: LengthGrouping,
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
        let grouping = LengthGrouping::default();
        let first = curriculum.batches(&lengths, batch_size, 0, seed, grouping);
        Self { lengths, curriculum, batch_size, seed, grouping, epoch: (0, first) }
    }

    /// Groups the examples by `grouping`, that of the run.
    pub fn set_grouping(&mut self, grouping: LengthGrouping) {
        if self.grouping != grouping {
            self.grouping = grouping;
            self.sample_epoch(self.epoch.0);
        }
    }

    /// Example indices of batch `index` of the run, counted from 0.
    pub fn batch_indices(&mut self, index: usize) -> &[usize] {
        let batches_per_epoch = self.lengths.len().div_ceil(self.batch_size);
        let epoch = index / batches_per_epoch;
        if self.epoch.0 != epoch {
            self.sample_epoch(epoch);
        }
        &self.epoch.1[index % batches_per_epoch]
    }

    fn sample_epoch(&mut self, epoch: usize) {
        let Self { lengths, curriculum, batch_size, seed, grouping, .. } = self;
        let batches = curriculum.batches(lengths, *batch_size, epoch, *seed, *grouping);
        self.epoch = (epoch, batches);
    }
}
