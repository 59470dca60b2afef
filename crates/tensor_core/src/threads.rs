//! Number of CPU threads of all tensor operations, and a parallel loop for work that is not a
//! tensor operation.
//!
//! candle and rayon read one environment variable, but at different times: rayon when its pool
//! starts, candle at every matrix product. Where the variable is unset, candle counts the machine's
//! cores anew at every product, which takes longer than a small product itself. A program therefore
//! sets the number first thing in `main`.
//!
//! candle has a second pool for its element-wise operations, whose threads spin while they wait for
//! each other. On a machine with other load they spin for whole time slices, and a training step
//! takes five times as long. That pool is reduced to the calling thread.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use candle_core::{Result, bail};

use crate::kernels::{for_each_part, pool};

/// Name of a thread of [`spawn_untrusted_call`]. Its panics become errors, so programs do not print
/// them.
pub const UNTRUSTED_CALL: &str = "untrusted_call";
/// Stack of such a thread, for deeply nested values. The system provides only the pages that are
/// used.
const UNTRUSTED_CALL_STACK: usize = 1 << 30;

const RAYON_VARIABLE: &str = "RAYON_NUM_THREADS";
const CANDLE_VARIABLE: &str = "CANDLE_NUM_THREADS";

/// Upper limit: machines have fewer cores, and many more threads cannot even be started.
const MAX_THREADS: usize = 1024;

/// Number of threads of the process, as set by [`set_num_threads`].
pub fn num_threads() -> usize {
    pool::threads()
}

/// Sets the number of threads of the whole process: `threads`, else `RAYON_NUM_THREADS`, else one
/// per core. Setting the same number again is allowed. Returns the number.
///
/// # Errors
/// When the number is above 1,024, or differs from the current one after the process has started a
/// second thread: the environment may only change before that.
pub fn set_num_threads(threads: Option<NonZeroUsize>) -> Result<usize> {
    let from_environment = || std::env::var(RAYON_VARIABLE).ok().and_then(|text| text.parse().ok());
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = threads.or_else(from_environment).unwrap_or_else(cores);
    if threads.get() > MAX_THREADS {
        bail!("{threads} threads: at most {MAX_THREADS} are supported");
    }
    let number = threads.to_string();
    let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    if is_set(RAYON_VARIABLE, &number) && is_set(CANDLE_VARIABLE, "1") {
        return Ok(threads.get());
    }
    if running_threads() > 1 {
        bail!(
            "{threads} threads: the number cannot change any more, set it before the process \
             starts a second thread"
        );
    }
    // SAFETY: set_var races with readers in other threads only, and this is the only thread.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(RAYON_VARIABLE, number);
        std::env::set_var(CANDLE_VARIABLE, "1");
    }
    Ok(threads.get())
}

/// Runs `work` on each of `items`, on all threads. One item should take at least some microseconds,
/// or the loop is not worth sharing.
pub fn parallel_for_each<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    // Several tasks per thread, so that a delayed task delays only a small part of the loop.
    let part_len = items.len().div_ceil(4 * pool::threads()).max(1);
    for_each_part([(items, part_len)], |_, [part]| part.iter_mut().for_each(&work));
}

/// A call on a thread of its own, see [`spawn_untrusted_call`].
pub struct UntrustedCall<T> {
    /// `None` once the result has been received.
    thread: Option<JoinHandle<()>>,
    result: Receiver<anyhow::Result<T>>,
}

/// Starts `call`, which reads a file of a stranger, on a thread of its own with a large stack. A
/// panic becomes the error `failure`, with the panic's message as its cause.
///
/// # Errors
/// When no thread can be started.
pub fn spawn_untrusted_call<T: Send + 'static>(
    failure: &str,
    call: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<UntrustedCall<T>> {
    let (send, result) = channel();
    let failure = failure.to_string();
    let run = move || {
        // The call is gone after a panic, so nothing sees its broken state.
        let result = catch_unwind(AssertUnwindSafe(call));
        let result = result
            .unwrap_or_else(|panic| Err(anyhow!("{}", panic_message(&*panic)).context(failure)));
        let _ = send.send(result); // the receiver may have stopped waiting
    };
    let thread = Builder::new().name(UNTRUSTED_CALL.into()).stack_size(UNTRUSTED_CALL_STACK);
    let thread = Some(thread.spawn(run).context("starting a thread")?);
    Ok(UntrustedCall { thread, result })
}

impl<T> UntrustedCall<T> {
    /// Result of the call, which is there once; `None` if there is none within `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<anyhow::Result<T>> {
        let result = self.result.recv_timeout(timeout).ok()?;
        // The thread ends now. That of a result whose value panics when it is dropped is no error.
        let _ = self.thread.take().map(JoinHandle::join);
        Some(result)
    }
}

impl<T> Drop for UntrustedCall<T> {
    /// Leaves a thread that goes on to itself, without detaching it: `pthread_detach` of glibc
    /// reads the memory of a thread that may have ended and freed it
    /// (<https://sourceware.org/bugzilla/show_bug.cgi?id=19951>), a large stack at once.
    fn drop(&mut self) {
        std::mem::forget(self.thread.take());
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| Some(panic.downcast_ref::<String>()?.as_str())).unwrap_or("unknown panic")
}

/// Number of threads of this process on Linux; elsewhere 1, so the caller must set the number in
/// time.
fn running_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
