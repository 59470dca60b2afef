//! Calls of code that comes with a model, such as a chat template: on a large stack, and with
//! limits of time and memory.
//!
//! Minijinja's fuel bounds the instructions of a template and most of its memory, but neither the
//! nesting of a value (printing and dropping one is recursive) nor the text of a list that contains
//! another one many times, nor the comparison of two such lists. So there are limits of time and
//! memory, too. A thread cannot be ended from outside: it goes on until the program ends, which is
//! what programs do with the error; and [`UntrustedCode`] that was stopped is not called again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tensor_core::memory::resident_bytes;
use tensor_core::threads::spawn_untrusted_call;

/// Time limit of a call. The longest conversations take a second.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Limit of the memory that the process takes during a call. That of a template's fuel is a
/// quarter.
const MEMORY_LIMIT: u64 = 1 << 30;
/// Time between two looks at the memory, in which it grows by a tenth of the limit.
const INTERVAL: Duration = Duration::from_millis(20);

/// Code of a model's files.
#[derive(Debug, Default)]
pub(crate) struct UntrustedCode {
    /// Whether a call took too long or too much memory. Its thread goes on.
    was_stopped: AtomicBool,
}

impl UntrustedCode {
    /// Result of `call`, which runs on a thread of its own; errors call it `name`.
    ///
    /// # Errors
    /// Those of `call`, and its panic; when it takes too long or too much memory, or an earlier
    /// call did.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        name: &str,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let was_stopped = self.was_stopped.load(Ordering::Relaxed);
        ensure!(!was_stopped, "{name} was stopped, so it is not used again");
        let (start, mut before) = (Instant::now(), None);
        let mut call = spawn_untrusted_call(&format!("{name} failed"), call)?;
        let limit = loop {
            if let Some(result) = call.wait(INTERVAL) {
                return result;
            }
            if start.elapsed() > TIME_LIMIT {
                break format!("did not end within {} s", TIME_LIMIT.as_secs());
            }
            // Most calls end before the first look, which would take as long as they do.
            let now = resident_bytes().unwrap_or(0);
            if now.saturating_sub(*before.get_or_insert(now)) > MEMORY_LIMIT {
                break format!("took more than {MEMORY_LIMIT} bytes of memory");
            }
        };
        self.was_stopped.store(true, Ordering::Relaxed);
        bail!("{name} {limit}")
    }
}
