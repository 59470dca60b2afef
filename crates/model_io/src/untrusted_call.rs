//! Calls of code that comes with a model, such as a chat template: on a large stack, and with
//! limits of time and memory.
//!
//! Minijinja's fuel bounds the instructions of a template and most of its memory, but neither the
//! nesting of a value (printing and dropping one is recursive) nor the text of a list that contains
//! another one many times.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tensor_core::memory::resident_bytes;

/// Stack of a call. The system provides only the pages that are used.
const STACK_BYTES: usize = 1 << 30;
/// Time limit of a call. The longest conversations take a second.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Limit of the memory that the process takes during a call. That of a template's fuel is a
/// quarter.
const MEMORY_LIMIT: u64 = 1 << 30;
/// Time between two looks at the memory, in which it grows by a tenth of the limit.
const INTERVAL: Duration = Duration::from_millis(20);

/// Result of `call`, which runs on a thread of its own; errors call it `name`.
///
/// # Errors
/// Those of `call`; when it takes too long or too much memory, and then it goes on until the
/// program ends.
pub(crate) fn run<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = channel();
    let (start, mut before) = (Instant::now(), None);
    let thread = Builder::new().stack_size(STACK_BYTES);
    thread.spawn(move || send.send(call())).context("starting a thread")?;
    loop {
        match receive.recv_timeout(INTERVAL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => bail!("{name} failed"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if start.elapsed() > TIME_LIMIT {
            bail!("{name} did not end within {} s", TIME_LIMIT.as_secs());
        }
        // Most calls end before the first look, which would take as long as they do.
        let now = resident_bytes().unwrap_or(0);
        if now.saturating_sub(*before.get_or_insert(now)) > MEMORY_LIMIT {
            bail!("{name} took more than {MEMORY_LIMIT} bytes of memory");
        }
    }
}
