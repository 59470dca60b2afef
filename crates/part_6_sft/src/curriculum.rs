//! 6.3 The curriculum: in which order examples are learned.
//!
//! Short ones first is how a person would begin; shuffled is what the mathematics of stochastic gradients asks for. Examples
//! of similar length then share a batch, since padding is computed in vain. The order follows from the seed and the number of
//! the epoch, so a step's number is all that a resumed run needs to know.

use serde::Serialize;
use tensor_core::Rng;

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Curriculum {
    /// Shortest first, every epoch
    ByLength,
    /// At random, anew each epoch
    #[default]
    Shuffled,
    /// Shortest first in the first epoch, then at random
    ByLengthThenShuffled,
}

/// Batches that are shuffled together before they are sorted by length: enough to find one's like.
const BUCKET: usize = 32;

impl Curriculum {
    /// The batches of epoch `epoch`, each of `size` examples (the last of fewer), of examples with these lengths.
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
        let mut rng = Rng::new(seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)); // apart for every epoch
        rng.shuffle(&mut order);
        for bucket in order.chunks_mut(BUCKET.saturating_mul(size)) {
            bucket.sort_by_key(|&example| lengths[example]);
        }
        let mut batches: Vec<Vec<usize>> = order.chunks(size).map(<[usize]>::to_vec).collect();
        rng.shuffle(&mut batches);
        batches
    }
}
