//! Ranks that are threads of one process: for tests, where each has its own copy of the model.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Result, ensure};

use crate::Ranks;

/// Rank that is a thread. When its last clone is dropped, the rank has ended, and those that wait
/// for it get an error.
#[derive(Debug, Clone)]
pub struct ThreadRank(Arc<Member>);

#[derive(Debug)]
struct Member {
    rank: usize,
    meeting: Arc<Meeting>,
}

/// Where the ranks exchange what they bring.
#[derive(Debug)]
struct Meeting {
    state: Mutex<Round>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Round {
    /// Number of rounds that are complete.
    n_complete: usize,
    /// Bytes that each rank has brought to the present round.
    brought: Vec<Option<Vec<u8>>>,
    /// Bytes of all ranks in the round before.
    exchanged: Arc<Vec<Vec<u8>>>,
    has_ended: Vec<bool>,
}

/// Results of `main` on `n` ranks, each in a thread of its own.
pub fn in_threads<T: Send>(n: usize, main: impl Fn(Ranks) -> Result<T> + Sync) -> Vec<Result<T>> {
    let round = Round { brought: vec![None; n], has_ended: vec![false; n], ..Round::default() };
    let meeting = Arc::new(Meeting { state: Mutex::new(round), changed: Condvar::new() });
    let main = &main;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n)
            .map(|rank| {
                let member = ThreadRank(Arc::new(Member { rank, meeting: meeting.clone() }));
                scope.spawn(move || main(Ranks::Threads(member)))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

impl ThreadRank {
    pub(crate) fn rank(&self) -> usize {
        self.0.rank
    }

    pub(crate) fn world_size(&self) -> usize {
        self.0.meeting.round().has_ended.len()
    }

    pub(crate) fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = self.exchange(bytes)?;
        values.fill(0.);
        for (rank, bytes) in all.iter().enumerate() {
            let (theirs, _) = bytes.as_chunks::<4>();
            ensure!(
                theirs.len() == values.len(),
                "rank {rank} has {} values where rank {} has {}",
                theirs.len(),
                self.rank(),
                values.len()
            );
            for (sum, &value) in values.iter_mut().zip(theirs) {
                *sum += f32::from_le_bytes(value);
            }
        }
        Ok(())
    }

    pub(crate) fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let own = if self.rank() == 0 { std::mem::take(bytes) } else { Vec::new() };
        bytes.clone_from(&self.exchange(own)?[0]);
        Ok(())
    }

    /// Bytes that the ranks bring, in their order.
    pub(crate) fn exchange(&self, bytes: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>> {
        let mut round = self.0.meeting.round();
        let present = round.n_complete;
        round.brought[self.rank()] = Some(bytes);
        if round.brought.iter().all(Option::is_some) {
            let brought = round.brought.iter_mut().filter_map(Option::take).collect();
            round.exchanged = Arc::new(brought);
            round.n_complete += 1;
            self.0.meeting.changed.notify_all();
        }
        while round.n_complete == present {
            let ended = round.has_ended.iter().zip(&round.brought);
            let ended =
                ended.enumerate().find(|(_, (ended, brought))| **ended && brought.is_none());
            if let Some((rank, _)) = ended {
                anyhow::bail!("rank {rank} has ended");
            }
            round = self.0.meeting.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(round.exchanged.clone())
    }
}

impl Meeting {
    fn round(&self) -> MutexGuard<'_, Round> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.meeting.round().has_ended[self.rank] = true;
        self.meeting.changed.notify_all();
    }
}
