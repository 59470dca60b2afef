#![doc = include_str!("../README.md")]

mod average;
#[cfg(feature = "mpi")]
mod mpi_rank;
#[cfg(feature = "nccl")]
mod nccl;
mod process;
mod thread_rank;

use std::ops::Range;
use std::process::Command;

use anyhow::{Context, Result, ensure};
pub use average::{BatchGradients, PartialGradients, RankGradients, ReductionTime};
use candle_core::{Device, Tensor};
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

    /// Number of this rank among those of its host, from 0.
    pub fn local_rank(&self) -> usize {
        match self {
            Self::Alone => 0,
            Self::Threads(thread) => thread.rank(),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.local_rank(),
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

    /// Replaces `values` by their sum over all ranks, added in the order of the ranks. All must
    /// have the same number of values: threads check it, and MPI may end the processes, or wait.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        match self {
            Self::Alone => Ok(()),
            Self::Threads(thread) => thread.all_reduce_sum(values),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.all_reduce_sum(values),
        }
    }

    /// Sum over all ranks of their `values` (N), f32 on one device: added on the GPUs of processes
    /// by NCCL, in an order of its own, with the feature `nccl`; else in the order of the ranks.
    pub(crate) fn all_reduce(&self, values: Tensor) -> Result<Tensor> {
        #[cfg(feature = "nccl")]
        if matches!(self, Self::Mpi(_)) && values.device().is_cuda() {
            nccl::all_reduce_sum(self, &values)?;
            return Ok(values);
        }
        let device = values.device().clone();
        let mut on_host = values.to_vec1::<f32>()?;
        drop(values);
        self.all_reduce_sum(&mut on_host)?;
        let n_values = on_host.len();
        Ok(Tensor::from_vec(on_host, n_values, &device)?)
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

    /// The `own` of each of the ranks, in their order.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn gather<T: Clone + Serialize + DeserializeOwned>(&self, own: &T) -> Result<Vec<T>> {
        if !self.are_several() {
            return Ok(vec![own.clone()]);
        }
        let mut bytes = Vec::new();
        ciborium::into_writer(own, &mut bytes)?;
        let all = match self {
            Self::Alone => vec![bytes],
            Self::Threads(thread) => thread.exchange(bytes)?.to_vec(),
            #[cfg(feature = "mpi")]
            Self::Mpi(process) => process.exchange(bytes)?,
        };
        let read = |bytes: &Vec<u8>| Ok(ciborium::from_reader(&bytes[..])?);
        all.iter().map(read).collect()
    }

    /// The tensors of all ranks, f32 on `device`, one below the other: (R, ..). They differ in
    /// their first dimension alone, and a rank may have none.
    ///
    /// # Errors
    /// When no rank has any, their shapes differ, or another rank has ended.
    pub fn concat(&self, own: &[Tensor], device: &Device) -> Result<Tensor> {
        if !self.are_several() {
            return Ok(Tensor::cat(own, 0)?);
        }
        let parts = own
            .iter()
            .map(|tensor| Ok((tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1::<f32>()?)));
        let parts: Vec<(Vec<usize>, Vec<f32>)> = parts.collect::<Result<_>>()?;
        let all = self.gather(&parts)?.into_iter().flatten();
        let all = all.map(|(shape, values)| Tensor::from_vec(values, shape, device));
        Ok(Tensor::cat(&all.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }

    /// Checks that all ranks have the same `own`, which is named by `what`.
    ///
    /// # Errors
    /// When one has another, or has ended.
    pub fn ensure_same<T>(&self, own: &T, what: &str) -> Result<()>
    where
        T: Clone + PartialEq + Serialize + DeserializeOwned,
    {
        let all = self.gather(own)?;
        let other = all.iter().position(|theirs| *theirs != all[0]);
        ensure!(other.is_none(), "rank {} has another {what} than the first", other.unwrap_or(0));
        Ok(())
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
            ciborium::into_writer(&compute()?, &mut bytes)?;
        }
        self.broadcast(&mut bytes)?;
        ciborium::from_reader(&bytes[..]).context("a result of the first rank")
    }
}

/// Lets `command` start a program that is not one of the ranks, although its parent is.
pub fn outside_of_ranks(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let launchers = ["OMPI_", "PMI_", "PMIX_", "MPI_", "SLURM_STEP_"];
        if launchers.iter().any(|launcher| name.to_string_lossy().starts_with(launcher)) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests;
