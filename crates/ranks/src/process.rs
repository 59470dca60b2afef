//! Ranks of this process, from its start to its end.

use std::sync::OnceLock;

use anyhow::Result;

use crate::Ranks;

/// Variables in which the launchers of MPI's implementations, and SLURM's `srun`, give the number
/// of ranks.
const WORLD_SIZE_VARIABLES: [&str; 4] =
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS"];

static RANKS: OnceLock<Ranks> = OnceLock::new();

impl Ranks {
    /// Ranks of this process: alone, unless mpirun has started several. The first call must be the
    /// main thread's. A rank that is not the first prints nothing on stdout from then on.
    ///
    /// # Errors
    /// When mpirun has started several and this program is built without the feature `mpi`, or
    /// with an MPI library that does not join them or does not support threads.
    pub fn of_process() -> Result<Self> {
        if let Some(ranks) = RANKS.get() {
            return Ok(ranks.clone());
        }
        let ranks = start()?;
        Ok(RANKS.get_or_init(|| ranks).clone())
    }

    /// Ends the communication of this process with the others, which all have succeeded.
    pub fn finish_process() {
        #[cfg(feature = "mpi")]
        if matches!(RANKS.get(), Some(Self::Mpi(_))) {
            crate::MpiRank::finish();
        }
    }

    /// Ends the processes of all ranks, of which this one has failed, with `exit_code`. Returns if
    /// it is alone.
    pub fn abort_all(exit_code: u8) {
        let _ = exit_code;
        #[cfg(feature = "mpi")]
        if matches!(RANKS.get(), Some(Self::Mpi(_))) {
            crate::MpiRank::abort(i32::from(exit_code));
        }
    }
}

/// Number of ranks that a launcher has started; 1 without a launcher.
fn launched_world_size() -> usize {
    let size = |name: &&str| std::env::var(name).ok()?.parse().ok();
    WORLD_SIZE_VARIABLES.iter().find_map(size).unwrap_or(1)
}

/// Value of the last `--threads` among the arguments `args`.
#[cfg(any(feature = "mpi", test))]
pub(crate) fn threads_flag(
    args: impl IntoIterator<Item = String>,
) -> Option<std::num::NonZeroUsize> {
    let args: Vec<String> = args.into_iter().collect();
    let value = |(i, arg): (usize, &String)| match arg.strip_prefix("--threads") {
        Some("") => args.get(i + 1)?.parse().ok(),
        Some(rest) => rest.strip_prefix('=')?.parse().ok(),
        None => None,
    };
    args.iter().enumerate().filter_map(value).next_back()
}

/// Checks that a process which is one of `n_launched` is one of several for MPI, too. The library
/// of another MPI than the launcher's starts each by itself, with `world_size` 1, and then all
/// would be the first rank and write the same files.
#[cfg(any(feature = "mpi", test))]
pub(crate) fn ensure_joined(n_launched: usize, world_size: usize) -> Result<()> {
    anyhow::ensure!(
        world_size > 1,
        "{n_launched} ranks were started, and MPI has joined this one to no other: start them with \
         the mpirun of the MPI library that this program was built with, or with srun --mpi=pmix"
    );
    Ok(())
}

#[cfg(feature = "mpi")]
fn start() -> Result<Ranks> {
    let n_launched = launched_world_size();
    if n_launched < 2 {
        return Ok(Ranks::Alone);
    }
    // MPI starts threads of its own, after which the number of ours cannot be set.
    tensor_core::threads::set_num_threads(threads_flag(std::env::args()))?;
    let ranks = Ranks::Mpi(crate::MpiRank::start()?);
    ensure_joined(n_launched, ranks.world_size())?;
    if !ranks.is_first() {
        rustix::stdio::dup2_stdout(std::fs::File::options().write(true).open("/dev/null")?)?;
    }
    Ok(ranks)
}

#[cfg(not(feature = "mpi"))]
fn start() -> Result<Ranks> {
    let n = launched_world_size();
    anyhow::ensure!(
        n < 2,
        "mpirun has started {n} ranks, and this program is built without MPI: build it with \
         --features mpi"
    );
    Ok(Ranks::Alone)
}
