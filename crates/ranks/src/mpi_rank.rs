//! Ranks that are processes, started by mpirun, on one machine or many.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use anyhow::{Context, Result, ensure};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use mpi::{Threading, initialize_with_threading};

/// Values that are added at a time, of which each rank holds its share from every rank.
const CHUNK: usize = 1 << 20;

/// MPI, from its start to its end. Its calls are made by the main thread, but a thread-local value
/// would be dropped at the exit of a process that panics. That ends MPI, which waits for the other
/// ranks, which wait for this one. A process that exits without ending MPI ends all ranks.
static UNIVERSE: Mutex<Option<Universe>> = Mutex::new(None);

/// Thread that has started MPI, and so the only one that may call it.
static MPI_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Rank that is a process. MPI ends all processes when one of them fails.
#[derive(Debug, Clone, Copy)]
pub struct MpiRank {
    rank: usize,
    local_rank: usize,
    world_size: usize,
}

impl MpiRank {
    /// Starts MPI in this process, which calls it in this thread alone.
    ///
    /// # Errors
    /// When it was started before, or allows no other threads beside this one.
    pub(crate) fn start() -> Result<Self> {
        let (universe, granted) =
            initialize_with_threading(Threading::Funneled).context("MPI was started twice")?;
        *lock_universe() = Some(universe); // an error must not drop it
        let _ = MPI_THREAD.set(thread::current().id());
        ensure_funneled(granted)?;
        let world = world()?;
        let (rank, world_size) = (world.rank() as usize, world.size() as usize);
        let local_rank = world.split_shared(world.rank()).rank() as usize;
        Ok(Self { rank, local_rank, world_size })
    }

    /// Ends MPI, which waits for all ranks.
    pub(crate) fn finish() {
        #[cfg(feature = "nccl")]
        crate::nccl::finish();
        drop(lock_universe().take());
    }

    /// Ends all ranks with `exit_code`: by MPI, or, in a thread that may not call it, by an exit
    /// without ending MPI.
    pub(crate) fn abort(exit_code: i32) -> ! {
        match world() {
            Ok(world) => world.abort(exit_code),
            Err(_) => std::process::exit(exit_code),
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Number among the ranks that share the memory of a host.
    pub(crate) fn local_rank(&self) -> usize {
        self.local_rank
    }

    pub(crate) fn world_size(&self) -> usize {
        self.world_size
    }

    /// Each rank adds a share of the values, in the order of the ranks, and gives its sums to all:
    /// MPI's own reduction may add in any order. All must have as many `values`, which is not
    /// checked.
    pub(crate) fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let (world, n) = (world()?, self.world_size);
        let (whole, rest) = values.split_at_mut(values.len() / n * n);
        let mut of_ranks = vec![0.; whole.len().min(CHUNK / n * n)];
        for chunk in whole.chunks_mut(CHUNK / n * n) {
            sum_by_shares(&world, chunk, &mut of_ranks[..chunk.len()]);
        }
        let mut padded = vec![0.; n];
        padded[..rest.len()].copy_from_slice(rest);
        sum_by_shares(&world, &mut padded, &mut vec![0.; n]);
        rest.copy_from_slice(&padded[..rest.len()]);
        Ok(())
    }

    pub(crate) fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        broadcast_from(0, bytes)
    }

    /// Bytes that the ranks bring, in their order.
    pub(crate) fn exchange(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let mut all = vec![Vec::new(); self.world_size];
        all[self.rank] = own;
        for (rank, bytes) in all.iter_mut().enumerate() {
            broadcast_from(rank as i32, bytes)?;
        }
        Ok(all)
    }
}

fn lock_universe() -> MutexGuard<'static, Option<Universe>> {
    UNIVERSE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks that MPI grants the threading level that it is called with: this process computes in
/// several threads, of which one calls it.
pub(crate) fn ensure_funneled(granted: Threading) -> Result<()> {
    ensure!(
        granted >= Threading::Funneled,
        "MPI grants the threading level {granted:?}, and ranks that compute in several threads \
         need Funneled or more: use an MPI library that was built with support for threads"
    );
    Ok(())
}

/// Replaces `values`, equally many for each rank, by their sums over the ranks. `of_ranks` is
/// memory of that size.
fn sum_by_shares(world: &SimpleCommunicator, values: &mut [f32], of_ranks: &mut [f32]) {
    let share = values.len() / world.size() as usize;
    world.all_to_all_into(&*values, of_ranks); // this rank's share of each rank's values
    let (sums, of_others) = of_ranks.split_at_mut(share);
    for values in of_others.chunks_exact(share) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    world.all_gather_into(&*sums, values);
}

/// Communicator of all ranks.
///
/// # Errors
/// In another thread than the one that has started MPI: the level Funneled forbids it.
fn world() -> Result<SimpleCommunicator> {
    ensure!(
        MPI_THREAD.get() == Some(&thread::current().id()),
        "a thread beside the main one cannot exchange with other ranks"
    );
    Ok(SimpleCommunicator::world())
}

/// Replaces `bytes` by those of rank `root`.
fn broadcast_from(root: i32, bytes: &mut Vec<u8>) -> Result<()> {
    let world = world()?;
    let root = world.process_at_rank(root);
    let mut len = bytes.len() as u64;
    root.broadcast_into(&mut len);
    bytes.resize(usize::try_from(len)?, 0);
    for chunk in bytes.chunks_mut(CHUNK * size_of::<f32>()) {
        root.broadcast_into(chunk);
    }
    Ok(())
}
