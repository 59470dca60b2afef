//! How many CPU threads tensor operations use, and a loop over them for what is no tensor operation.
//!
//! candle and rayon read one environment variable, each at its own time: rayon when its pool starts, candle
//! at every matrix product (and where the variable is unset, candle counts the machine's cores anew at every
//! product, which costs more than a small product itself). So a program sets it first thing in `main`.
//!
//! candle also has a second pool, for its element-wise operations, whose threads wait for each other by spinning: on a
//! machine that has anything else to do they spin for whole time slices, and a training step takes five times as long.
//! That pool is reduced to the calling thread.

use std::num::NonZeroUsize;

use candle_core::{Result, bail};

use crate::ops::cpu::for_each_part;
use crate::pool;

const VARIABLE: &str = "RAYON_NUM_THREADS";
const SPINNING_POOL: &str = "CANDLE_NUM_THREADS";

/// No machine has more cores, and many more threads cannot even be started.
const MOST: usize = 1024;

/// Fixes the number of threads for the whole process: `threads`, else `RAYON_NUM_THREADS`, else one per core. The same number may be
/// fixed again.
///
/// # Errors
/// When there are to be more than 1,024, or another number than now and the process has already started a second thread: the
/// environment may only change before that.
pub fn set_num_threads(threads: Option<NonZeroUsize>) -> Result<usize> {
    let from_environment = || std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = threads.or_else(from_environment).unwrap_or_else(cores);
    if threads.get() > MOST {
        bail!("{threads} threads: at most {MOST} make sense");
    }
    let number = threads.to_string();
    let now = |name: &str, value: &str| std::env::var(name).is_ok_and(|now| now == value);
    if now(VARIABLE, &number) && now(SPINNING_POOL, "1") {
        return Ok(threads.get());
    }
    if running_threads() > 1 {
        bail!(
            "{threads} threads: a process keeps the number that it began with, which is set before it starts a second thread"
        );
    }
    // SAFETY: set_var races with readers in other threads only, and this is the only thread.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(VARIABLE, number);
        std::env::set_var(SPINNING_POOL, "1");
    }
    Ok(threads.get())
}

/// Does `work` to each of `items`, on all threads; what is done to one must take some microseconds to be worth it.
pub fn parallel_for_each<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    // Some tasks per thread, so that one which is held up holds up little.
    let part = items.len().div_ceil(4 * pool::threads()).max(1);
    for_each_part([(items, part)], |_, [part]| part.iter_mut().for_each(&work));
}

/// Threads of this process, where the system tells (Linux); elsewhere the caller's word is taken for it.
fn running_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
