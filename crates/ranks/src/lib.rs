#![doc = include_str!("../README.md")]

mod average;
#[cfg(feature = "mpi")]
mod mpi_rank;
mod process;
mod thread_rank;

use std::ops::Range;

use anyhow::{Context, Result};
pub use average::{BatchGradients, RankGradients};
#[cfg(feature = "mpi")]
pub use mpi_rank::MpiRank;
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use thread_rank::{ThreadRank, in_threads};

/// One of several ranks that train a model together, as it sees the others. Each operation between
/// ranks must be called by all of them, in the same order.
#[derive(Debug, Clone, Default)]
pub enum Ranks {
    /// The only rank.
    #[default]
    Alone,
    /// Thread of this process.
    Threads(ThreadRank),
    /// Process that mpirun has started.
    #[cfg(feature = "mpi")]
    Mpi(MpiRank),
}

impl Ranks {
    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        match self {
            Self::Alone => 0,
            Self::Threads(thread) => thread.rank(),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.rank(),
        }
    }

    /// Number of ranks.
    pub fn world_size(&self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Threads(thread) => thread.world_size(),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.world_size(),
        }
    }

    /// True for the rank that writes files and prints.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// True if there are other ranks.
    pub fn are_several(&self) -> bool {
        self.world_size() > 1
    }

    /// This rank's share of `n_rows` rows of a batch; the shares differ by at most one row.
    pub fn rows(&self, n_rows: usize) -> Range<usize> {
        let start = |rank: usize| rank * n_rows / self.world_size();
        start(self.rank())..start(self.rank() + 1)
    }

    /// Replaces `values` by their sum over all ranks, added in the order of the ranks.
    ///
    /// # Errors
    /// When another rank has ended, or has another number of values.
    pub fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        match self {
            Self::Alone => Ok(()),
            Self::Threads(thread) => thread.all_reduce_sum(values),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.all_reduce_sum(values),
        }
    }

    /// Replaces `bytes` by those of the first rank.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Alone => Ok(()),
            Self::Threads(thread) => thread.broadcast(bytes),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.broadcast(bytes),
        }
    }

    /// True if `flag` is true on any rank.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn any(&self, flag: bool) -> Result<bool> {
        let mut n_true = [f32::from(u8::from(flag))];
        self.all_reduce_sum(&mut n_true)?;
        Ok(n_true[0] > 0.)
    }

    /// Result of `compute`, which the first rank alone calls.
    ///
    /// # Errors
    /// Those of `compute`, and when another rank has ended.
    pub fn on_first<T: Serialize + DeserializeOwned>(
        &self,
        compute: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.are_several() {
            return compute();
        }
        let mut bytes = Vec::new();
        if self.is_first() {
            bytes = serde_json::to_vec(&compute()?)?;
        }
        self.broadcast(&mut bytes)?;
        serde_json::from_slice(&bytes).context("a result of the first rank")
    }
}

#[cfg(test)]
mod tests;
